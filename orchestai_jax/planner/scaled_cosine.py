"""Cosine similarity with a learned scale, the score that every part of the planner uses."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float


def unit(x: Float[Array, "*batch d"]) -> Float[Array, "*batch d"]:
    """Vectors scaled to norm 1 (zero vectors stay zero, with a finite gradient)."""
    return x / jnp.sqrt(jnp.sum(jnp.square(x), axis=-1, keepdims=True) + 1e-12)
