"""The cache of keys and values, [batch, kv_heads, time, head_dim] a layer: the layout that is read fastest."""

from __future__ import annotations

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int32
from orchestai_kernels.arrays import Int8Array, dequantize_int8, quantize_int8

from orchestai_jax.config import LanguageModelConfig

CacheKind = Literal["float", "int8"]
Stored = Float[Array, "batch kv_heads capacity head_dim"] | Int8Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class KeyValueCache:
    """Keys and values of the tokens so far; all rows end at one place, and shorter prompts begin later.

    Invariants: 0 <= start[b] < length <= capacity; slots start[b] … length - 1 of a row hold its tokens, position 0
    first. An int8 cache has one scale a (row, head, token).
    """

    keys: tuple[Stored, ...]
    """One array a layer."""
    values: tuple[Stored, ...]
    """One array a layer."""
    start: Int32[Array, "batch"]
    """The slot of each row's first token."""
    length: Int32[Array, ""]
    """Slots that are filled."""

    @property
    def capacity(self) -> int:
        """Slots that there are."""
        return self.keys[0].shape[2]


def empty_cache(
    config: LanguageModelConfig, start: Int32[Array, "batch"], capacity: int, kind: CacheKind, dtype: jnp.dtype
) -> KeyValueCache:
    """A cache without tokens, of zeros."""
    shape = (start.shape[0], config.num_kv_heads, capacity, config.head_dim)

    def zeros() -> Stored:
        if kind == "int8":
            return Int8Array(jnp.zeros(shape, jnp.int8), jnp.zeros(shape[:-1], jnp.float32))
        return jnp.zeros(shape, dtype)

    layers = range(config.num_layers)
    return KeyValueCache(
        tuple(zeros() for _ in layers), tuple(zeros() for _ in layers), start, jnp.zeros((), jnp.int32)
    )


def write(stored: Stored, new: Float[Array, "batch time kv_heads head_dim"], at: Int32[Array, ""] | int) -> Stored:
    """`stored` with the keys (or values) of new tokens from slot `at` on."""
    new = jnp.swapaxes(new, 1, 2)  # [batch, kv_heads, time, head_dim]
    zero = jnp.zeros((), jnp.int32)
    where = (zero, zero, jnp.asarray(at, jnp.int32), zero)
    if not isinstance(stored, Int8Array):
        return jax.lax.dynamic_update_slice(stored, new.astype(stored.dtype), where)
    packed = quantize_int8(new)
    return Int8Array(
        jax.lax.dynamic_update_slice(stored.values, packed.values, where),
        jax.lax.dynamic_update_slice(stored.scale, packed.scale, where[:3]),
    )


def attend_cached(
    queries: Float[Array, "batch 1 heads head_dim"],
    new_keys: Float[Array, "batch 1 kv_heads head_dim"],
    new_values: Float[Array, "batch 1 kv_heads head_dim"],
    cache: KeyValueCache,
    layer: int,
) -> Float[Array, "batch 1 heads head_dim"]:
    """Attend to each row's tokens in a layer's slots, and to the newest, which is not in the cache yet.

    The softmax is in float32, over both. The newest token counts as it is, in an int8 cache too.
    """
    keys, values = cache.keys[layer], cache.values[layer]
    if isinstance(keys, Int8Array):
        keys = dequantize_int8(keys).astype(queries.dtype)
    if isinstance(values, Int8Array):
        values = dequantize_int8(values).astype(queries.dtype)
    batch, _, heads, head_dim = queries.shape
    grouped = queries.reshape(batch, new_keys.shape[2], -1, head_dim)
    # b: row, g: kv head, r: query head of its group, s: slot, d: head dimension
    before = jnp.einsum("bgrd,bgsd->bgrs", grouped, keys, preferred_element_type=jnp.float32)
    newest = jnp.einsum("bgrd,bgd->bgr", grouped, new_keys[:, 0], preferred_element_type=jnp.float32)
    slots = jnp.arange(cache.capacity)
    visible = (slots[None] >= cache.start[:, None]) & (slots < cache.length)[None]  # [batch, slots]
    before = jnp.where(visible[:, None, None], before, jnp.finfo(jnp.float32).min)
    scores = jnp.concatenate([before, newest[..., None]], axis=-1) * head_dim**-0.5
    weights = jax.nn.softmax(scores, axis=-1).astype(queries.dtype)
    mixed = jnp.einsum("bgrs,bgsd->bgrd", weights[..., :-1], values)
    mixed = mixed + weights[..., -1:] * new_values[:, 0, :, None]
    return mixed.reshape(batch, 1, heads, head_dim)
