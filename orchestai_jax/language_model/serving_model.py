"""A model laid out for serving: packed projections, one set of arrays a layer, and its forward pass."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from orchestai_kernels.arrays import Int8Array, StackedMatrix, TernaryArray, dequantize_int8, quantize_int8
from orchestai_kernels.dispatch import platform
from orchestai_kernels.int8_matmul import int8_matmul
from orchestai_kernels.rms_norm import rms_normed

from orchestai_jax.config import LanguageModelConfig
from orchestai_jax.language_model.layer import PROJECTIONS, projection_parts, projection_rules
from orchestai_jax.language_model.model import (
    Parameters,
    compute_dtype,
    known_vocab_size,
    layer_structure,
    merge_parameters,
    model_structure,
)
from orchestai_jax.nn.rotary import rotary_angles
from orchestai_jax.quantization import pack_weights

HeadKind = Literal["float", "int8"]


State = TypeVar("State")
AttendLayer = Callable[[Any, State, Array, Array, Array], tuple[Array, State]]
"""(layer's number, state, queries [batch, time, heads, dim], keys and values [batch, time, kv_heads, dim]) → (mixed
[batch, time, heads, dim], state): how a layer attends, and what it changes."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ServingModel:
    """Parameters in the form in which no layer's weights are copied at a step.

    That is a loop over stacked layers where the kernels read one of a stack where it lies (packed projections on a
    CPU): one layer is compiled, whatever their number. Elsewhere each layer has arrays of its own and is written out.
    """

    embedding: Float[Array, "vocab hidden"] | Int8Array
    """Token embeddings; the head too where it is tied."""
    layers: Parameters | tuple[Parameters, ...]
    """By the names below `layers.`: one dict of stacks, or one dict a layer; projections packed as the rules say."""
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
    loop = packed and loops(config)
    by_name: dict[str, Any] = {}
    for name in [name for name in remaining if name.startswith("layers.")]:
        value, short = remaining.pop(name), name.removeprefix("layers.")
        rule = rules.get(short.removesuffix(".weight"))
        pack = None
        if rule is not None and isinstance(value, jax.Array | np.ndarray):
            pack = functools.partial(pack_weights, kind=rule.weights, parts=parts.get(name))
        by_name[short] = _stack(value, pack) if loop else _layers(value, pack)
        del value  # freed before the next one is packed
    layers = by_name if loop else tuple({name: of[i] for name, of in by_name.items()} for i in range(config.num_layers))
    tables = {}
    for name in [name for name in ("embedding", "head") if name in remaining]:
        table = jnp.asarray(remaining.pop(name))
        tables[name] = quantize_int8(table) if head == "int8" else table
        del table
    return ServingModel(
        tables["embedding"], layers, jnp.asarray(remaining.pop("norm.weight")), tables.get("head"), config
    )


def loops(config: LanguageModelConfig) -> bool:
    """Whether layers run as a loop here: see `ServingModel`."""
    rules = projection_rules(config)
    return (
        platform() == "cpu"
        and len(rules) == len(PROJECTIONS)
        and all(rule.weights in ("ternary", "int8") and rule.activations == "int8" for rule in rules.values())
    )


def _layers(value: Any, pack: Callable[[Array], Any] | None) -> list[Any]:
    """Each layer's part of a stack, packed."""
    count = jax.tree.leaves(value)[0].shape[0]
    parts = (jax.tree.map(lambda leaf, i=i: jnp.asarray(leaf[i]), value) for i in range(count))
    return [part if pack is None else pack(part) for part in parts]


def _stack(value: Any, pack: Callable[[Array], Any] | None) -> Any:
    """The stack itself, or packed a layer at a time: what is in memory beside the two is one layer's."""
    if pack is None:
        return jax.tree.map(jnp.asarray, value)
    return stack_layers((pack(jnp.asarray(part)) for part in value), len(value))


def stack_layers(layers: Iterable[Any], count: int) -> Any:
    """Pytrees of one structure as one, with a leading axis; each can be freed as soon as it is copied."""
    stack: Any = None
    for i, layer in enumerate(layers):
        stack = _room(layer, count) if stack is None else stack
        stack = _put(stack, layer, i)
    return stack


@functools.partial(jax.jit, static_argnums=1)
def _room(layer: Any, count: int) -> Any:
    return jax.tree.map(lambda leaf: jnp.zeros((count, *leaf.shape), leaf.dtype), layer)


@functools.partial(jax.jit, donate_argnums=0)
def _put(stack: Any, layer: Any, index: Int[Array, ""] | int) -> Any:
    return jax.tree.map(lambda all_, one: jax.lax.dynamic_update_index_in_dim(all_, one, index, 0), stack, layer)


def check_parameters(config: LanguageModelConfig, parameters: Mapping[str, Any]) -> None:
    """Raise ValueError, listing all differences, where names or shapes are not those of the configuration's model."""
    shapes = model_structure(config)[1]
    missing, surplus = sorted(shapes.keys() - parameters.keys()), sorted(parameters.keys() - shapes.keys())
    faults = [f"lack {', '.join(missing)}"] if missing else []
    faults += [f"hold {', '.join(surplus)}, which the model has no place for"] if surplus else []
    for name in sorted(shapes.keys() & parameters.keys()):
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
    vocab, count = known_vocab_size(config), config.num_layers

    def table() -> Array | Int8Array:
        values = rng.integers(-127, 128, (vocab, config.hidden_size), np.int8)
        scale = np.full((vocab,), 0.02 / 73, np.float32)
        packed = Int8Array(jnp.asarray(values), jnp.asarray(scale))
        return packed if head == "int8" else dequantize_int8(packed)

    def matrices(name: str, rows: int, columns: int) -> Iterator[TernaryArray]:
        if rows % 32 or columns % 64:
            raise ValueError(f"{name}: rows must be a multiple of 32 and columns of 64, got {rows} and {columns}")
        scale = jnp.asarray(np.full(rows, columns**-0.5, np.float32))
        for _ in range(count):
            codes = jnp.asarray(_random_codes(rng, (rows // 32, columns // 4, 32)))
            yield TernaryArray(codes, scale, (rows, columns), 0)

    # The largest arrays first: what making them takes beside themselves is memory that later ones fill.
    embedding, own_head = table(), None if config.tied_embeddings else table()
    by_name: Parameters = {}
    for name, shape in structure.items():
        if name.startswith("layers."):
            short = name.removeprefix("layers.")
            if short.removesuffix(".weight") in rules:
                by_name[short] = stack_layers(matrices(name, *shape.shape[1:]), count)
            else:
                by_name[short] = jnp.asarray(np.ones(shape.shape, np.float32))
    layers = by_name if loops(config) else tuple(_layer_of(by_name, i) for i in range(count))
    norm = jnp.asarray(np.ones(config.hidden_size, np.float32))
    return ServingModel(embedding, layers, norm, own_head, config)


def _layer_of(stacks: Parameters, index: int) -> Parameters:
    return jax.tree.map(lambda leaf: leaf[index], stacks)


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
    normed = rms_normed(x, model.norm, model.config.rms_epsilon)
    head = model.embedding if model.head is None else model.head
    if isinstance(head, Int8Array):
        return int8_matmul(normed, head).astype(jnp.float32)
    # b: row, h: hidden, v: token of the vocabulary
    return jnp.einsum("bh,vh->bv", normed, head.astype(x.dtype), preferred_element_type=jnp.float32)


def run_layers(
    model: ServingModel,
    x: Float[Array, "batch time hidden"],
    positions: Int[Array, "batch time"],
    attend: AttendLayer[State],
    state: State,
) -> tuple[Float[Array, "batch time hidden"], State]:
    """All layers, each with `attend`, which hands a state on from layer to layer."""
    angles = rotary_angles(positions, model.config.head_dim, model.config.rope_theta)
    graphdef = layer_structure(model.config)

    def layer(index: Any, carry: tuple[Array, State], parameters: Parameters) -> tuple[Array, State]:
        x, state = carry
        return merge_parameters(graphdef, parameters)(x, angles, functools.partial(attend, index, state))

    if isinstance(model.layers, tuple):
        carry = (x, state)
        for index, parameters in enumerate(model.layers):
            carry = layer(index, carry, parameters)
        return carry
    stacks = model.layers

    def in_loop(index: Array, carry: tuple[Array, State]) -> tuple[Array, State]:
        return layer(index, carry, {name: _one(stack, index) for name, stack in stacks.items()})

    return jax.lax.fori_loop(0, model.config.num_layers, in_loop, (x, state))


def _one(stack: Any, index: Array) -> Any:
    """A layer's part of a stack: packed matrices stay where they are, norms are small."""
    if isinstance(stack, TernaryArray | Int8Array):
        return StackedMatrix(stack, index)
    return jax.lax.dynamic_index_in_dim(stack, index, keepdims=False)
