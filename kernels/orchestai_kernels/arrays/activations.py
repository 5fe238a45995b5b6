"""Activations as int8, one scale a token: the activation side of BitNet b1.58 (Ma et al. 2024, equation 4)."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float, Float32, Int8

from orchestai_kernels.arrays.magnitude import largest_magnitude

SMALLEST = 1e-5
"""The least absolute maximum that a token is scaled by, so that a token of zeros has a finite scale."""


def quantize_activations(
    x: Float[Array, "*batch features"],
) -> tuple[Int8[Array, "*batch features"], Float32[Array, "*batch"]]:
    """(q, s): a = max(max|x|, 1e-5) over the features in float32, s = 127 / a, q = round(x · s), ties to even.

    |q| is at most 127, because |x · s| is at most 127 up to the rounding of one division and one multiplication.
    A token with a NaN or an infinity has q = 0 and s = 0, so that whatever divides by s gets NaN: it propagates to the
    whole token. No features (length 0) count as a token of zeros.
    """
    x = x.astype(jnp.float32)
    largest = largest_magnitude(x, initial=SMALLEST)
    scale = 127.0 / largest
    finite = jnp.isfinite(largest)[..., None]
    return jnp.where(finite, jnp.round(x * scale[..., None]), 0.0).astype(jnp.int8), scale


def dequantize_activations(
    values: Int8[Array, "*batch features"], scale: Float32[Array, "*batch"]
) -> Float32[Array, "*batch features"]:
    """The float32 activations that (q, s) stands for: q / s."""
    return values.astype(jnp.float32) / scale[..., None]
