"""A model laid out for serving: packed projections, one set of arrays a layer, and its forward pass."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from orchestai_kernels.arrays import Int8Array, TernaryArray, dequantize_int8, quantize_int8
from orchestai_kernels.int8_matmul import int8_matmul

from orchestai_jax.config import LanguageModelConfig
from orchestai_jax.language_model.layer import projection_parts, projection_rules
from orchestai_jax.language_model.model import (
    Parameters,
    compute_dtype,
    known_vocab_size,
    layer_structure,
    merge_parameters,
    model_structure,
)
from orchestai_jax.nn.grouped_query_attention import Attend
from orchestai_jax.nn.rotary import rotary_angles
from orchestai_jax.quantization import pack_weights

HeadKind = Literal["float", "int8"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ServingModel:
    """Parameters by layer, so that no layer's weights are copied out of a stack at every step."""

    embedding: Float[Array, "vocab hidden"] | Int8Array
    """Token embeddings; the head too where it is tied."""
    layers: tuple[Parameters, ...]
    """One dict a layer, by the names below `layers.`; projections are packed as the rules say, or float."""
    norm: Float[Array, "hidden"]
    """Weight of the last norm."""
    head: Float[Array, "vocab hidden"] | Int8Array | None
    """The head; None where the embedding is it."""
    config: LanguageModelConfig = dataclasses.field(metadata={"static": True})
    """The model's configuration."""

    @property
    def nbytes(self) -> int:
        """Bytes of all parameters."""
        return sum(leaf.nbytes for leaf in jax.tree.leaves(self))


def serving_model(
    config: LanguageModelConfig,
    parameters: Mapping[str, Any],
    *,
    packed: bool = True,
    head: HeadKind = "float",
    release: bool = False,
) -> ServingModel:
    """Lay parameters out for serving.

    Args:
      config: the model's.
      parameters: float ones, or imported packed ones.
      packed: pack the projections as the rules say; False keeps float weights, which are rounded at every use.
      head: `int8` keeps embedding and head as int8 with one scale a row: a quarter of the memory, small differences.
      release: empty `parameters`, a dict, on the way, so that float masters and packed copy are not all in memory at
        once (where nothing else holds them).

    Raises ValueError for parameters that are missing or not known (all listed), for wrong shapes, and for a mapping
    that cannot be emptied.
    """
    check_parameters(config, parameters)
    remaining = dict(parameters)
    if release:
        if not isinstance(parameters, dict):
            raise ValueError(f"parameters must be a dict to be released, got {type(parameters).__name__}")
        parameters.clear()
    rules, parts = (projection_rules(config) if packed else {}), projection_parts(config)
    layers: tuple[Parameters, ...] = tuple({} for _ in range(config.num_layers))
    for name in [name for name in remaining if name.startswith("layers.")]:
        value, short = remaining.pop(name), name.removeprefix("layers.")
        rule = rules.get(short.removesuffix(".weight"))
        if rule is not None and isinstance(value, jax.Array | np.ndarray):
            value = pack_weights(jnp.asarray(value), rule.weights, parts=parts.get(name))
        for i, layer in enumerate(layers):
            layer[short] = jax.tree.map(lambda leaf, i=i: jnp.asarray(leaf[i]), value)
        del value  # freed before the next one is packed
    tables = {}
    for name in [name for name in ("embedding", "head") if name in remaining]:
        table = jnp.asarray(remaining.pop(name))
        tables[name] = quantize_int8(table) if head == "int8" else table
        del table
    return ServingModel(
        tables["embedding"], layers, jnp.asarray(remaining.pop("norm.weight")), tables.get("head"), config
    )


def check_parameters(config: LanguageModelConfig, parameters: Mapping[str, Any]) -> None:
    """Raise ValueError, listing all differences, where names or shapes are not those of the configuration's model."""
    shapes = model_structure(config)[1]
    missing, surplus = sorted(shapes.keys() - parameters.keys()), sorted(parameters.keys() - shapes.keys())
    faults = [f"lack {', '.join(missing)}"] if missing else []
    faults += [f"hold {', '.join(surplus)}, which the model has no place for"] if surplus else []
    for name in shapes.keys() & parameters.keys():
        given = parameters[name]
        if isinstance(given, tuple):  # binary matrices below each other
            continue
        if tuple(given.shape) != tuple(shapes[name].shape):
            faults.append(f"have {name} of shape {tuple(given.shape)} where {tuple(shapes[name].shape)} is wanted")
    if faults:
        raise ValueError(f"the parameters {'; '.join(faults)}")


def random_packed_model(config: LanguageModelConfig, seed: int, *, head: HeadKind = "int8") -> ServingModel:
    """Random packed weights for benchmarks, made without float masters: the memory stays that of the packed model.

    Raises ValueError for a model whose rules are not ternary throughout.
    """
    rules = projection_rules(config)
    structure = model_structure(config)[1]
    if sorted({rule.weights for rule in rules.values()}) != ["ternary"] or len(rules) < 4:
        raise ValueError("random_packed_model is for models whose every projection is ternary")
    rng = np.random.default_rng(seed)
    layers = []
    for _ in range(config.num_layers):
        layer: Parameters = {}
        for name, shape in structure.items():
            if not name.startswith("layers."):
                continue
            short = name.removeprefix("layers.")
            if short.removesuffix(".weight") not in rules:
                layer[short] = jnp.ones(shape.shape[1:], jnp.float32)
                continue
            rows, columns = shape.shape[1:]
            if rows % 32 or columns % 64:
                raise ValueError(f"{name}: rows must be a multiple of 32 and columns of 64, got {rows} and {columns}")
            codes = _random_codes(rng, (rows // 32, columns // 4, 32))
            scale = jnp.full((rows,), columns**-0.5, jnp.float32)
            layer[short] = TernaryArray(jnp.asarray(codes), scale, (rows, columns), 0)
        layers.append(layer)
    vocab = known_vocab_size(config)

    def table() -> Array | Int8Array:
        values = rng.integers(-127, 128, (vocab, config.hidden_size), np.int8)
        scale = np.full((vocab,), 0.02 / 73, np.float32)
        packed = Int8Array(jnp.asarray(values), jnp.asarray(scale))
        return packed if head == "int8" else dequantize_int8(packed)

    norm = jnp.ones((config.hidden_size,), jnp.float32)
    return ServingModel(table(), tuple(layers), norm, None if config.tied_embeddings else table(), config)


def _random_codes(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Bytes of four codes 0, 1 or 2, without temporaries wider than a byte."""
    digits = rng.integers(0, 81, shape, np.uint8)
    codes = digits % 3
    for shift in (2, 4, 6):
        digits //= 3
        codes |= digits % 3 << shift
    return codes


def embed(model: ServingModel, tokens: Int[Array, "batch time"]) -> Float[Array, "batch time hidden"]:
    """Rows of the embedding, in the compute type."""
    dtype = compute_dtype(model.config)
    if isinstance(model.embedding, Int8Array):
        rows = model.embedding.values[tokens].astype(jnp.float32)
        return (rows * model.embedding.scale[tokens][..., None]).astype(dtype)
    return model.embedding[tokens].astype(dtype)


def head_logits(model: ServingModel, x: Float[Array, "batch hidden"]) -> Float[Array, "batch vocab"]:
    """Norm and head: logits, float32."""
    wide = x.astype(jnp.float32)
    scale = jax.lax.rsqrt(jnp.mean(jnp.square(wide), axis=-1, keepdims=True) + model.config.rms_epsilon)
    normed = model.norm.astype(x.dtype) * (wide * scale).astype(x.dtype)
    head = model.embedding if model.head is None else model.head
    if isinstance(head, Int8Array):
        return int8_matmul(normed, head).astype(jnp.float32)
    # b: row, h: hidden, v: token of the vocabulary
    return jnp.einsum("bh,vh->bv", normed, head.astype(x.dtype), preferred_element_type=jnp.float32)


def run_layers(
    model: ServingModel,
    x: Float[Array, "batch time hidden"],
    positions: Int[Array, "batch time"],
    attends: Sequence[Attend],
) -> tuple[Float[Array, "batch time hidden"], list[Any]]:
    """All layers, written out; `attends` has one function a layer. Returns the result and what each of them keeps."""
    angles = rotary_angles(positions, model.config.head_dim, model.config.rope_theta)
    graphdef = layer_structure(model.config)
    kept = []
    for parameters, attend in zip(model.layers, attends, strict=True):
        x, of_layer = merge_parameters(graphdef, parameters)(x, angles, attend)
        kept.append(of_layer)
    return x, kept
