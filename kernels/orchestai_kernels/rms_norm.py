"""Root-mean-square normalisation (Zhang & Sennrich 2019), as every layer of this project computes it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def rms_normed(
    x: Float[Array, "*batch size"], weight: Float[Array, "size"], epsilon: float
) -> Float[Array, "*batch size"]:
    """x / sqrt(mean(x²) + epsilon) over the last axis in float32, rounded to x's dtype, then times the weight in it."""
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    normed = wide * jax.lax.rsqrt(jnp.mean(jnp.square(wide), axis=-1, keepdims=True) + epsilon)
    return normed.astype(x.dtype) * weight.astype(x.dtype)
