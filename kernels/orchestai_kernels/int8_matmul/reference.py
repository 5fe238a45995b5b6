"""The definition of `int8_matmul` in plain jnp; every implementation equals it bit for bit before the scaling."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from orchestai_kernels.arrays import Int8Array, quantize_activations

MOST_COLUMNS = (2**31 - 1) // 127**2
"""With more columns a sum of 127 · 127 could leave int32."""


def reference(x: Float[Array, "tokens columns"], weight: Int8Array) -> Float[Array, "tokens rows"]:
    """Quantise each token to int8, sum the products in int32, then y = sum · (1 / s) · weight scale, in this order."""
    values, scale = quantize_activations(x)
    # t: token, k: column, n: row
    sums = jnp.einsum("tk,nk->tn", values, weight.values, preferred_element_type=jnp.int32)
    return (sums.astype(jnp.float32) * (1.0 / scale)[:, None] * weight.scale).astype(x.dtype)
