"""The folder that a ternary encoder is kept in: packed matrices, int8 tables, sizes, tokenizer."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from flax import nnx
from orchestai_kernels.arrays import Int8Array, TernaryArray, dequantize_int8, unpack_ternary
from orchestai_kernels.arrays.ternary import packed_shape

from orchestai_jax.data import Tokenizer
from orchestai_jax.planner.published_tensors import EncoderFormatError, PublishedTensors
from orchestai_jax.planner.ternary_encoder import (
    TernaryEncoder,
    TernaryEncoderConfig,
    is_matrix,
    is_table,
    pack_encoder,
)

MODEL_TYPE = "ternary_bert"
FORMAT = 1
"""Of the folder; another one is refused."""


def save_ternary_encoder(
    folder: pathlib.Path, config: TernaryEncoderConfig, parameters: Mapping[str, Any], tokenizer: Tokenizer
) -> None:
    """Write `config.json`, `model.safetensors` and `tokenizer.json`; `parameters` are float masters, or packed.

    A matrix is `NAME.codes` (`TernaryArray`'s), a table `NAME.values` and `NAME.scale`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, np.ndarray] = {}
    for name, value in pack_encoder(parameters).items():
        base = name.rpartition(".")[0]
        if isinstance(value, TernaryArray):
            tensors[f"{base}.codes"] = np.asarray(value.codes)
        elif isinstance(value, Int8Array):
            tensors |= {f"{base}.values": np.asarray(value.values), f"{base}.scale": np.asarray(value.scale)}
        else:
            tensors[name] = np.asarray(value, np.float32)
    sizes = dataclasses.asdict(config)
    del sizes["dropout"]
    about = {"model_type": MODEL_TYPE, "format": FORMAT, **sizes}
    temporary = folder / "model.safetensors.tmp"
    safetensors.numpy.save_file({name: np.ascontiguousarray(x) for name, x in tensors.items()}, temporary)
    os.replace(temporary, folder / "model.safetensors")
    (folder / "tokenizer.json").write_text(tokenizer.json, encoding="utf-8")
    (folder / "config.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def read_sizes(raw: Mapping[str, Any]) -> TernaryEncoderConfig:
    """The sizes of a folder's config.json. Raises KeyError for one that is missing, EncoderFormatError for a format of
    another version."""
    if raw["format"] != FORMAT:
        raise EncoderFormatError(
            f"config.json: format {raw['format']!r} of a ternary encoder; this version reads {FORMAT}"
        )
    fields = [field.name for field in dataclasses.fields(TernaryEncoderConfig) if field.name != "dropout"]
    return TernaryEncoderConfig(**{name: raw[name] for name in fields})


def import_ternary(encoder: TernaryEncoder, tensors: Mapping[str, np.ndarray]) -> None:
    """Set an encoder's parameters from a folder's tensors, in place: masters |scale| · t, which round to the same t.

    Raises EncoderFormatError for a tensor that is missing, of a wrong shape or kind, that no parameter takes, or whose
    codes are none.
    """
    found = PublishedTensors(tensors)
    state = nnx.to_flat_state(nnx.state(encoder, nnx.Param))
    values = [(path, _taken(found, ".".join(map(str, path)), variable.get_value().shape)) for path, variable in state]
    found.refuse_rest(())
    nnx.update(encoder, nnx.from_flat_state([(path, nnx.Param(jnp.asarray(value))) for path, value in values]))


def _taken(found: PublishedTensors, name: str, shape: tuple[int, ...]) -> Any:
    """The float32 value of a parameter."""
    base = name.rpartition(".")[0]
    if is_matrix(name):
        rows, columns = shape
        codes = jnp.asarray(found.array(f"{base}.codes", np.uint8, packed_shape(rows, columns)))
        values = unpack_ternary(_valid(TernaryArray(codes, jnp.float32(1), (rows, columns)), base))
        # Of the size of what the layer multiplies by, so that an optimizer's steps are of use; zeros stay zeros. A size
        # that rounding would take for zero (see ternary_rows) is none.
        size = np.abs(found.array(f"{base}.scale", np.float32, shape[:1]))[:, None]
        return values.astype(jnp.float32) * np.where(size > 1e-5, size, 1)
    if is_table(name):
        values = jnp.asarray(found.array(f"{base}.values", np.int8, shape))
        scale = jnp.asarray(found.array(f"{base}.scale", np.float32, shape[:1]))
        return dequantize_int8(_valid(Int8Array(values, scale), base))
    return found.array(name, np.float32, shape)


def _valid(array: Any, name: str) -> Any:
    try:
        return array.validate()
    except ValueError as error:
        raise EncoderFormatError(f"tensor {name}: {error}") from None
