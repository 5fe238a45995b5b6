"""JAX's own attention, as XLA compiles it and by cuDNN, brought to this op's definition."""

from __future__ import annotations

import contextlib
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from orchestai_kernels.arrays import Int8Array
from orchestai_kernels.attention.masks import Masks
from orchestai_kernels.attention.reference import as_float
from orchestai_kernels.dispatch import KernelMissingError
from orchestai_kernels.precision import product_precision


def attention_xla(
    q: Float[Array, "batch queries heads head_dim"],
    k: Float[Array, "batch keys kv_heads head_dim"] | Int8Array,
    v: Float[Array, "batch keys kv_heads head_dim"] | Int8Array,
    masks: Masks,
    *,
    scale: float,
) -> Float[Array, "batch queries heads head_dim"]:
    """`jax.nn.dot_product_attention(implementation="xla")`, with zero where no key is visible."""
    return _library(q, k, v, masks, scale, "xla")


def attention_cudnn(
    q: Float[Array, "batch queries heads head_dim"],
    k: Float[Array, "batch keys kv_heads head_dim"],
    v: Float[Array, "batch keys kv_heads head_dim"],
    masks: Masks,
    *,
    scale: float,
) -> Float[Array, "batch queries heads head_dim"]:
    """`jax.nn.dot_product_attention(implementation="cudnn")`: flash attention, forward and backward."""
    try:
        return _library(q, k, v, masks, scale, "cudnn")
    except RuntimeError as error:  # found out only here: JAX has no public way to ask
        if isinstance(error, NotImplementedError) or "cuDNN" not in str(error):
            raise
        raise KernelMissingError(str(error)) from error


def _library(
    q: Array, k: Array | Int8Array, v: Array | Int8Array, masks: Masks, scale: float, name: Literal["xla", "cudnn"]
) -> Array:
    queries, keys = q.shape[1], k.shape[1]
    plainly_causal = masks.causal and not masks.may_hide_all
    visible = None if plainly_causal else masks.visible(queries, keys)
    wide = product_precision(q.dtype)
    # JAX's function takes no precision. Left alone its float32 products would be rounded on a GPU or a TPU.
    with contextlib.nullcontext() if wide is None else jax.default_matmul_precision("highest"):
        out = jax.nn.dot_product_attention(
            q,
            as_float(k, q.dtype),
            as_float(v, q.dtype),
            mask=visible,
            scale=scale,
            is_causal=plainly_causal,
            implementation=name,
        )
    if visible is None or not masks.may_hide_all:
        return out
    any_visible = jnp.any(visible, axis=-1)  # [batch, heads, queries], axes of 1 where nothing differs
    return jnp.where(jnp.swapaxes(any_visible, 1, 2)[..., None], out, 0)


def xla_accepts(q: Any, k: Any, v: Any, masks: Masks, *, scale: float) -> None:
    """Raises NotImplementedError for what `jax.nn.dot_product_attention` does not take."""
    if v.shape[-1] != k.shape[-1]:
        raise NotImplementedError(f"wants values as wide as keys, got {v.shape[-1]} and {k.shape[-1]}")
    if 0 in (*q.shape, *k.shape):
        raise NotImplementedError(f"wants no empty axis, got q {q.shape} and k {k.shape}")


def cudnn_accepts(q: Any, k: Any, v: Any, masks: Masks, *, scale: float) -> None:
    """Raises NotImplementedError for what cuDNN's flash attention, or this use of it, does not take."""
    xla_accepts(q, k, v, masks, scale=scale)
    if isinstance(k, Int8Array) or q.dtype not in (jnp.bfloat16, jnp.float16):
        raise NotImplementedError(f"wants bfloat16 or float16, got q {q.dtype} and k {_dtype(k)}")
    if q.shape[-1] % 8 or q.shape[-1] > 128:
        raise NotImplementedError(f"wants a head_dim of up to 128 that 8 divides, got {q.shape[-1]}")
    if q.shape[1] % 2 or k.shape[1] % 2:
        raise NotImplementedError(f"wants an even number of queries and of keys, got {q.shape[1]} and {k.shape[1]}")
    if masks.may_hide_all:
        raise NotImplementedError("would need the mask as an array of the scores' size; only no mask and plain causal")


def _dtype(x: Any) -> str:
    return "int8" if isinstance(x, Int8Array) else str(x.dtype)
