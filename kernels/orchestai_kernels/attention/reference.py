"""The definition of attention, in plain jax.numpy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from orchestai_kernels.arrays import Int8Array
from orchestai_kernels.attention.masks import Masks
from orchestai_kernels.precision import product_precision


def attention_reference(
    q: Float[Array, "batch queries heads head_dim"],
    k: Float[Array, "batch keys kv_heads head_dim"] | Int8Array,
    v: Float[Array, "batch keys kv_heads value_dim"] | Int8Array,
    masks: Masks,
    *,
    scale: float,
) -> Float[Array, "batch queries heads value_dim"]:
    """softmax(scale · q kᵀ) v over the visible keys, in float32 (float64 for float64); zero where there is none.

    Head h of the queries reads head h // (heads / kv_heads) of keys and values (Vaswani et al. 2017, equation 1;
    Ainslie et al. 2023).
    """
    batch, queries, heads, head_dim = q.shape
    keys, kv_heads = k.shape[1], k.shape[2]
    group = heads // max(kv_heads, 1)
    wide = jnp.promote_types(q.dtype, jnp.float32)
    # b: batch, h: key heads, r: the group's heads by queries, k: keys, d: head_dim, v: value_dim. Key heads come before
    # keys and rows are one axis: so XLA multiplies without copying a cache that was given as a transposed view.
    rows = (q.astype(wide) * scale).reshape(batch, queries, kv_heads, group, head_dim)
    rows = rows.transpose(0, 2, 3, 1, 4).reshape(batch, kv_heads, group * queries, head_dim)
    k_by_head, v_by_head = (jnp.swapaxes(as_float(x, wide), 1, 2) for x in (k, v))
    scores = jnp.einsum("bhrd,bhkd->bhrk", rows, k_by_head, precision=product_precision(wide))
    visible = masks.visible(queries, keys)
    if visible is not None:
        split = (visible.shape[0], 1, 1) if visible.shape[1] == 1 else (visible.shape[0], kv_heads, group)
        visible = visible.reshape(*split, *visible.shape[2:])
        scores = scores.reshape(batch, kv_heads, group, queries, keys)
        scores = jnp.where(visible, scores, -jnp.inf).reshape(batch, kv_heads, group * queries, keys)
    most = jax.lax.stop_gradient(jnp.max(scores, axis=-1, keepdims=True, initial=-jnp.inf))
    weights = jnp.exp(scores - jnp.where(most == -jnp.inf, 0.0, most))
    total = jnp.sum(weights, axis=-1, keepdims=True)
    out = jnp.einsum("bhrk,bhkv->bhrv", weights, v_by_head, precision=product_precision(wide))
    out = out / jnp.where(total == 0, 1.0, total)
    out = out.reshape(batch, kv_heads, group, queries, v.shape[3]).transpose(0, 3, 1, 2, 4)
    return out.reshape(batch, queries, heads, v.shape[3]).astype(q.dtype)


def as_float(x: Float[Array, "..."] | Int8Array, dtype: jnp.dtype) -> Float[Array, "..."]:
    """Keys or values as numbers of a dtype. No gradient flows to a quantised array."""
    if isinstance(x, Int8Array):
        return jax.lax.stop_gradient(x.values.astype(dtype) * x.scale[..., None].astype(dtype))
    return x.astype(dtype)
