"""Flash attention as a function with a backward of its own: what the kernels of every platform have in common.

The forward keeps the output and the base-2 logarithm of each row's sum; the backward computes the scores again
(Dao 2023, algorithm 2). Kernels see rows: the query heads that share a key head are folded into the query axis.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from orchestai_kernels.arrays import Int8Array
from orchestai_kernels.attention.masks import Masks, RowMasks, fold
from orchestai_kernels.attention.reference import as_float

LOG2_E = 1.4426950408889634


@dataclasses.dataclass(frozen=True)
class Static:
    """What a kernel is specialised for."""

    scale: float
    """Of the scores."""
    causal: bool
    """Whether rows see only keys up to their position."""
    group: int
    """Query heads of a key head."""
    tiles: Any
    """The platform's configuration."""
    interpret: bool
    """Whether to run interpreted."""


@dataclasses.dataclass(frozen=True)
class FlashKernels:
    """The two kernels of a platform. q and out are [batch, rows, kv_heads, dim], k and v [batch, keys, kv_heads, dim],
    lse and delta float32 [batch, kv_heads, rows]; lse is -inf for rows that see nothing in `forward`, 0 in `backward`.
    """

    forward: Callable[..., tuple[Array, Array]]
    """(q, k, v, masks, static) → (out, lse)."""
    backward: Callable[..., tuple[Array, Array, Array]]
    """(q, k, v, masks, dout, lse, delta, static) → (dq, dk, dv)."""


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _flash(kernels: FlashKernels, static: Static, q: Array, k: Any, v: Any, masks: RowMasks) -> Array:
    return kernels.forward(q, k, v, masks, static)[0]


def _flash_forward(kernels: FlashKernels, static: Static, q: Array, k: Any, v: Any, masks: RowMasks) -> Any:
    out, lse = kernels.forward(q, k, v, masks, static)
    return out, (q, k, v, masks, out, lse)


def _flash_backward(kernels: FlashKernels, static: Static, kept: Any, dout: Array) -> Any:
    q, k, v, masks, out, lse = kept
    delta = jnp.swapaxes(jnp.sum(out.astype(jnp.float32) * dout.astype(jnp.float32), axis=-1), 1, 2)  # [b, h, r]
    lse = jnp.where(lse == -jnp.inf, 0.0, lse)
    k_float, v_float = as_float(k, q.dtype), as_float(v, q.dtype)
    dq, dk, dv = kernels.backward(q, k_float, v_float, masks, dout.astype(q.dtype), lse, delta, static)
    if isinstance(k, Int8Array):  # as in the reference, no gradient flows to what is quantised
        return dq, _no_gradient(k), _no_gradient(v), _no_gradient(masks)
    return dq, dk.astype(k.dtype), dv.astype(v.dtype), _no_gradient(masks)


_flash.defvjp(_flash_forward, _flash_backward)


def flash_attention(
    kernels: FlashKernels,
    q: Float[Array, "batch queries heads head_dim"],
    k: Float[Array, "batch keys kv_heads head_dim"] | Int8Array,
    v: Float[Array, "batch keys kv_heads value_dim"] | Int8Array,
    masks: Masks,
    *,
    scale: float,
    tiles: Any,
    interpret: bool,
) -> Float[Array, "batch queries heads value_dim"]:
    """Attention by a platform's kernels."""
    batch, queries, heads, head_dim = q.shape
    keys, kv_heads = k.shape[1], k.shape[2]
    group = heads // kv_heads
    rows = jnp.swapaxes(q.reshape(batch, queries, kv_heads, group, head_dim), 2, 3)
    rows = rows.reshape(batch, queries * group, kv_heads, head_dim)
    by_row = fold(masks, batch=batch, queries=queries, keys=keys, group=group)
    out: Array = _flash(kernels, Static(scale, masks.causal, group, tiles, interpret), rows, k, v, by_row)
    out = jnp.swapaxes(out.reshape(batch, queries, group, kv_heads, -1), 2, 3)
    return out.reshape(batch, queries, heads, -1)


def flash_accepts(q: Any, k: Any, v: Any, masks: Masks, *, scale: float) -> None:
    """Raises NotImplementedError for what the flash kernels do not take."""
    if 0 in (*q.shape, *k.shape, *v.shape):
        raise NotImplementedError(f"wants no empty axis, got q {q.shape}, k {k.shape}, v {v.shape}")
    if q.dtype not in (jnp.float32, jnp.bfloat16, jnp.float16):
        raise NotImplementedError(f"wants float32, bfloat16 or float16, got {q.dtype}")


def score_gradients(
    products: Array, dweights: Array, lse: Array, delta: Array, visible: Array, scale: float
) -> tuple[Array, Array]:
    """Within a kernel, for a tile: (weights, gradients of the scaled products) in float32 (Dao 2023, algorithm 2).

    `products` are q · k, `dweights` dout · v; a row's `lse` and `delta` broadcast to the tile.
    """
    weights = jnp.where(visible, jnp.exp2(products * (scale * LOG2_E) - lse), 0.0)
    return weights, weights * (dweights - delta) * scale


def parts(x: Array | Int8Array) -> tuple[Array, Array | None]:
    """(numbers, scales), None for float numbers."""
    return (x.values, x.scale) if isinstance(x, Int8Array) else (x, None)


def pad_axis(x: Array, axis: int, block: int) -> Array:
    """Zeros added at the end of an axis up to a multiple of `block`."""
    if x.shape[axis] % block == 0:
        return x
    widths = [(0, 0)] * x.ndim
    widths[axis] = (0, -x.shape[axis] % block)
    return jnp.pad(x, widths)


def pad_given(x: Array | None, axis: int, block: int) -> Array | None:
    """`pad_axis` of what is given; None stays None."""
    return None if x is None else pad_axis(x, axis, block)


def _no_gradient(tree: Any) -> Any:
    """Cotangents of a pytree that takes none: zeros, of the dtype that JAX wants for integers."""
    return jax.tree.map(
        lambda x: jnp.zeros_like(x) if jnp.issubdtype(x.dtype, jnp.floating) else np.zeros(x.shape, jax.dtypes.float0),
        tree,
    )
