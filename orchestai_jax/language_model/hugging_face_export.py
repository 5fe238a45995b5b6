"""Writing Hugging Face's BitNet folders, in every mode that `hugging_face_import` reads."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from orchestai_kernels.arrays import TernaryArray, ternarize, unpack_ternary
from safetensors.numpy import save_file

from orchestai_jax.config import LanguageModelConfig
from orchestai_jax.language_model.hugging_face_config import MODES, Mode, hugging_face_config
from orchestai_jax.language_model.hugging_face_import import NORMS, PROJECTIONS
from orchestai_jax.language_model.layer import projection_parts, projection_rules
from orchestai_jax.language_model.quarter_blocks import pack_quarters


def export_hugging_face(
    folder: str | pathlib.Path,
    config: LanguageModelConfig,
    parameters: Mapping[str, Any],
    *,
    mode: Mode,
    max_shard_bytes: int = 5 * 10**9,
    special_tokens: Mapping[str, int | list[int]] | None = None,
) -> list[pathlib.Path]:
    """Write `config.json` and safetensors that transformers' BitNetForCausalLM reads; returns the files.

    Args:
      folder: made if need be; files of these names are replaced.
      config: the model's.
      parameters: float ones, or packed ternary ones (for the offline modes).
      mode: `float` for a model without quantisation, `online` for float masters, `offline` for packed weights whose
        scale multiplies, `offline_divided` for packed weights whose scale divides.
      max_shard_bytes: a file with more than this is cut into several, with an index.
      special_tokens: bos_token_id, eos_token_id (one or several), pad_token_id for `config.json`.

    Raises ValueError for a mode that the model's rules do not allow, for a model without sub-norms (the layout has
    them), for rows that cannot be packed, and for scales that cannot be stored; nothing is written then.
    """
    _check(config, parameters, mode)
    folder = pathlib.Path(folder)
    shards: list[dict[str, np.ndarray]] = [{}]
    filled = 0
    for key, tensor in _named_tensors(config, parameters, mode):
        if filled and filled + tensor.nbytes > max_shard_bytes:
            shards.append({})
            filled = 0
        shards[-1][key] = np.ascontiguousarray(tensor)
        filled += tensor.nbytes
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob("model*.safetensors*"):
        stale.unlink()
    config_file = folder / "config.json"
    raw = hugging_face_config(config, mode, special_tokens)
    config_file.write_text(json.dumps(raw, indent=2) + "\n", encoding="utf-8")
    written = [config_file]
    if len(shards) == 1:
        written.append(folder / "model.safetensors")
        save_file(shards[0], written[-1], metadata={"format": "pt"})
        return written
    weight_map: dict[str, str] = {}
    for number, shard in enumerate(shards, start=1):
        path = folder / f"model-{number:05}-of-{len(shards):05}.safetensors"
        save_file(shard, path, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(shard, path.name)
        written.append(path)
    total = sum(tensor.nbytes for shard in shards for tensor in shard.values())
    index = folder / "model.safetensors.index.json"
    index.write_text(
        json.dumps({"metadata": {"total_size": total}, "weight_map": weight_map}, indent=2) + "\n", encoding="utf-8"
    )
    return [*written, index]


def _check(config: LanguageModelConfig, parameters: Mapping[str, Any], mode: Mode) -> None:
    if mode not in MODES:
        raise ValueError(f"mode must be one of {', '.join(MODES)}, got {mode!r}")
    if not config.sub_norms:
        raise ValueError("sub_norms must be true: the BitNet layout has a norm before o_proj and before down_proj")
    rules = projection_rules(config)
    kinds = sorted({f"{rule.weights}/{rule.activations}" for rule in rules.values()})
    if mode == "float" and rules:
        raise ValueError(f"mode 'float' is for a model without quantization rules, this one has {', '.join(kinds)}")
    if mode != "float" and (len(rules) < len(PROJECTIONS) or kinds != ["ternary/int8"]):
        raise ValueError(
            f"mode {mode!r} is for models whose every projection is ternary with int8 activations; "
            f"this one has rules for {len(rules)} of {len(PROJECTIONS)} projections ({', '.join(kinds) or 'none'})"
        )
    packed = [name for name, value in parameters.items() if isinstance(value, TernaryArray)]
    if packed and mode in ("float", "online"):
        raise ValueError(f"mode {mode!r} wants float parameters, {packed[0]} is packed; give an offline mode")


def _named_tensors(
    config: LanguageModelConfig, parameters: Mapping[str, Any], mode: Mode
) -> Iterator[tuple[str, np.ndarray]]:
    yield "model.embed_tokens.weight", np.asarray(parameters["embedding"], np.float32)
    parts = projection_parts(config)
    for i in range(config.num_layers):
        for ours, theirs in NORMS.items():
            yield f"model.layers.{i}.{theirs}", np.asarray(parameters[f"layers.{ours}"][i], np.float32)
        for ours, names in PROJECTIONS.items():
            stored = parameters[f"layers.{ours}"]
            rows = parts.get(f"layers.{ours}", (stored.shape[-2],))
            bounds = np.cumsum(rows)[:-1]
            if mode in ("float", "online"):
                for name, piece in zip(names, np.split(np.asarray(stored[i], np.float32), bounds), strict=True):
                    yield f"model.layers.{i}.{name}.weight", piece
                continue
            for name, (values, scale) in zip(names, _ternary_pieces(stored, i, bounds), strict=True):
                key = f"model.layers.{i}.{name}"
                yield f"{key}.weight", pack_quarters(values, f"{key}.weight")
                with np.errstate(divide="ignore", over="ignore"):
                    written = np.float32(1) / scale if mode == "offline_divided" else scale
                if not np.isfinite(written):
                    raise ValueError(f"{key}: mode {mode!r} has no way to store a matrix with the scale {scale}")
                yield f"{key}.weight_scale", np.asarray([written], np.float32)
    yield "model.norm.weight", np.asarray(parameters["norm.weight"], np.float32)
    if not config.tied_embeddings:
        yield "lm_head.weight", np.asarray(parameters["head"], np.float32)


def _ternary_pieces(stored: Any, layer: int, bounds: np.ndarray) -> list[tuple[np.ndarray, np.float32]]:
    """(values, scale) of the matrices that lie below each other in one layer's projection."""
    if isinstance(stored, TernaryArray):
        one = TernaryArray(stored.codes[layer], stored.scale[layer], stored.matrix_shape, stored.axis)
        values, scales = np.asarray(unpack_ternary(one)), np.asarray(one.row_scale())
        starts = [0, *bounds.tolist()]
        return [
            (piece, np.float32(scales[start])) for start, piece in zip(starts, np.split(values, bounds), strict=True)
        ]
    pieces = [ternarize(piece) for piece in np.split(np.asarray(stored[layer], np.float32), bounds)]
    return [(np.asarray(values), np.float32(scale)) for values, scale in pieces]
