"""Root-mean-square normalisation, and layer norms as operations take them."""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float
from orchestai_kernels.encoder_block import Norm
from orchestai_kernels.rms_norm import rms_normed


class RMSNorm(nnx.Module):
    """x / sqrt(mean(x²) + epsilon) in float32, cast back to x's dtype, then times a weight (Zhang & Sennrich 2019)."""

    def __init__(self, size: int, *, epsilon: float = 1e-5, rngs: nnx.Rngs):
        del rngs  # the weight starts at 1
        self.epsilon = epsilon
        self.weight = nnx.Param(jnp.ones((size,), jnp.float32))

    def __call__(self, x: Float[Array, "*batch size"]) -> Float[Array, "*batch size"]:
        """Normalise the last axis."""
        return rms_normed(x, self.weight[...], self.epsilon)


def layer_norm_weights(layer: nnx.LayerNorm) -> Norm:
    """A layer norm's scale and bias, which it must have."""
    assert layer.scale is not None
    assert layer.bias is not None
    return Norm(layer.scale[...], layer.bias[...])
