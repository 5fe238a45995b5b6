"""The cache of keys and values, [layers, batch, kv_heads, time, head_dim]: the layout that is read fastest."""

from __future__ import annotations

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int32
from orchestai_kernels.arrays import Int8Array, quantize_int8

from orchestai_jax.config import LanguageModelConfig

CacheKind = Literal["float", "int8"]
Stored = Float[Array, "layers batch kv_heads capacity head_dim"] | Int8Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class DroppedSlots:
    """What was taken out of a cache's layers; the slots that are left have moved together, in their order."""

    count: Int32[Array, ""]
    """Slots that every layer lost; which ones differs by layer."""
    start: Int32[Array, "layers batch"]
    """The slot of each row's first token that is left."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class KeyValueCache:
    """Keys and values of the tokens so far; all rows end at one place, and shorter prompts begin later.

    Invariants: 0 <= start[b] < length; slots start[b] … length - 1 of a row hold its tokens, position 0 first, and
    length <= capacity; where slots were dropped, `start` and `length` count them still (positions follow from them),
    and `filled` says where a layer's tokens lie. An int8 cache has one scale a (layer, row, head, token).
    """

    keys: Stored
    values: Stored
    start: Int32[Array, "batch"]
    """The slot of each row's first token."""
    length: Int32[Array, ""]
    """Slots that were filled."""
    dropped: DroppedSlots | None = None
    """None where none were."""

    @property
    def capacity(self) -> int:
        """Slots that there are."""
        return self.keys.shape[3]

    @property
    def nbytes(self) -> int:
        """Bytes of all keys and values, scales included."""
        return sum(leaf.nbytes for leaf in jax.tree.leaves((self.keys, self.values)))

    def filled(self, layer: Int32[Array, ""] | int) -> tuple[Int32[Array, "batch"], Int32[Array, ""]]:
        """(first, end): a row's tokens lie in the slots first[b] … end - 1 of a layer; the next one goes to `end`."""
        if self.dropped is None:
            return self.start, self.length
        return self.dropped.start[layer], self.length - self.dropped.count


def empty_slots(config: LanguageModelConfig, batch: int, capacity: int, kind: CacheKind, dtype: jnp.dtype) -> Stored:
    """Keys (or values) of a cache without tokens: zeros."""
    shape = (config.num_layers, batch, config.num_kv_heads, capacity, config.head_dim)
    if kind == "int8":
        return Int8Array(jnp.zeros(shape, jnp.int8), jnp.zeros(shape[:-1], jnp.float32))
    return jnp.zeros(shape, dtype)


def write_prompt(
    stored: Stored, new: Float[Array, "batch time kv_heads head_dim"], layer: Int32[Array, ""] | int
) -> Stored:
    """`stored` with the keys (or values) of a prompt's tokens in a layer's slots from the first on."""
    new = jnp.swapaxes(new, 1, 2)  # [batch, kv_heads, time, head_dim]

    def put(into: Array, what: Array) -> Array:
        return jax.lax.dynamic_update_slice(into, what[None].astype(into.dtype), (layer, 0, 0, 0, 0)[: into.ndim])

    if not isinstance(stored, Int8Array):
        return put(stored, new)
    packed = quantize_int8(new)
    return Int8Array(put(stored.values, packed.values), put(stored.scale, packed.scale))
