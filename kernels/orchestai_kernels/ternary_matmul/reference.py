"""The definition of `ternary_matmul` in plain jnp; every implementation equals it bit for bit before the scaling."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float, Float32, Int8, Int32

from orchestai_kernels.arrays import TernaryArray, quantize_activations, unpack_ternary

MOST_COLUMNS = (2**31 - 1) // 127
"""With more columns a sum of ±127 could leave int32."""


def reference(x: Float[Array, "tokens columns"], weight: TernaryArray) -> Float[Array, "tokens rows"]:
    """Quantise each token to int8, sum q · t in int32, then scale: y = sum · (1 / s) · weight scale, in this order."""
    values, scale = quantize_activations(x)
    return rescale(accumulate(values, weight), scale, weight).astype(x.dtype)


def accumulate(values: Int8[Array, "tokens columns"], weight: TernaryArray) -> Int32[Array, "tokens rows"]:
    """The exact sums, before any scaling."""
    ternary = unpack_ternary(weight)
    # t: token, k: column, n: row
    return jnp.einsum("tk,nk->tn", values, ternary, preferred_element_type=jnp.int32)


def rescale(
    sums: Int32[Array, "tokens rows"], scale: Float32[Array, "tokens"], weight: TernaryArray
) -> Float32[Array, "tokens rows"]:
    """Sums to float32 outputs. A scale of 0 or NaN (a token that is not finite) gives NaN: its sums are 0."""
    return sums.astype(jnp.float32) * (1.0 / scale)[:, None] * weight.row_scale()
