"""`cached_attention` by the slice of a layer and the `attention` op; with its reference it is the definition."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int32

from orchestai_kernels.arrays import Int8Array, quantize_int8
from orchestai_kernels.attention import attention

Stored = Float[Array, "layers batch kv_heads capacity head_dim"] | Int8Array
Result = tuple[Float[Array, "batch heads head_dim"], Stored, Stored]


def sliced(
    queries: Float[Array, "batch heads head_dim"],
    new_key: Float[Array, "batch kv_heads head_dim"],
    new_value: Float[Array, "batch kv_heads head_dim"],
    keys: Stored,
    values: Stored,
    layer: Int32[Array, ""],
    start: Int32[Array, "batch"],
    length: Int32[Array, ""],
    *,
    scale: float,
    implementation: str = "auto",
) -> Result:
    """Write the newest token, take the layer out of the cache, and attend; `implementation` is the `attention` op's.

    The newest token counts as it was given, in an int8 cache too.
    """
    kept_keys, kept_values = write_slot(keys, new_key, layer, length), write_slot(values, new_value, layer, length)
    capacity = keys.shape[3]

    def of_layer(stored: Any) -> Any:
        taken = jax.tree.map(lambda leaf: jax.lax.dynamic_index_in_dim(leaf, layer, keepdims=False), stored)
        return jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 1, 2), taken)  # [batch, capacity, kv_heads, …]

    key, value = of_layer(kept_keys), of_layer(kept_values)
    if isinstance(keys, Int8Array):
        key, value = (as_given(x, new, length) for x, new in ((key, new_key), (value, new_value)))
    slots = jnp.arange(capacity)[None]
    visible = (slots >= start[:, None]) & (slots <= length)  # [batch, capacity]
    mixed = attention(
        queries[:, None], key, value, mask=visible[:, None, None], scale=scale, implementation=implementation
    )
    return mixed[:, 0], kept_keys, kept_values


def as_given(
    stored: Int8Array, new: Float[Array, "batch kv_heads head_dim"], length: Int32[Array, ""]
) -> Float[Array, "batch capacity kv_heads head_dim"]:
    """An int8 layer read back, with the newest token unrounded."""
    wide = (stored.values.astype(jnp.float32) * stored.scale[..., None]).astype(new.dtype)
    return jax.lax.dynamic_update_slice_in_dim(wide, new[:, None], length, axis=1)


def write_slot(
    stored: Stored, new: Float[Array, "batch kv_heads head_dim"], layer: Int32[Array, ""], slot: Int32[Array, ""]
) -> Stored:
    """The cache with one token's keys (or values) in a slot of a layer."""

    def put(into: Array, what: Array) -> Array:
        at = (layer, 0, 0, slot, 0)[: into.ndim]
        return jax.lax.dynamic_update_slice(into, jnp.expand_dims(what, (0, 3)).astype(into.dtype), at)

    if not isinstance(stored, Int8Array):
        return put(stored, new)
    packed = quantize_int8(new)
    return Int8Array(put(stored.values, packed.values), put(stored.scale, packed.scale))
