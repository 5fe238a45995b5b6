"""The position-wise feed-forward layer."""

from __future__ import annotations

import jax
from flax import nnx
from jaxtyping import Array, Float


class FeedForward(nnx.Module):
    """Linear, exact GELU (Hendrycks & Gimpel 2016), linear."""

    def __init__(self, hidden_size: int, intermediate_size: int, *, rngs: nnx.Rngs):
        self.up = nnx.Linear(hidden_size, intermediate_size, rngs=rngs)
        self.down = nnx.Linear(intermediate_size, hidden_size, rngs=rngs)

    def __call__(self, x: Float[Array, "*batch hidden"]) -> Float[Array, "*batch hidden"]:
        """Apply the layer to the last axis."""
        return self.down(jax.nn.gelu(self.up(x), approximate=False))
