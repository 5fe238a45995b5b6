"""The largest absolute value, which a NaN never hides from, and the mean."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float


def largest_magnitude(x: Float[Array, "*batch n"], *, initial: float = 0.0) -> Float[Array, "*batch"]:
    """max(max|x| over the last axis, initial); infinity for a NaN, so that it is never finite where x is not.

    Plain `jnp.max` does not do: XLA's reduction of arrays of some thousand numbers on CPUs (seen with jaxlib 0.10.2)
    takes a NaN for no number at all.
    """
    return jnp.max(jnp.where(jnp.isnan(x), jnp.inf, jnp.abs(x)), axis=-1, initial=initial)


def mean_magnitude(weights: Float[Array, "..."]) -> Float[Array, "..."]:
    """mean|W| of each matrix of [*batch, rows, columns]; 0 of an empty one. Raises ValueError for fewer axes."""
    if weights.ndim < 2:
        raise ValueError(f"weights must be [*batch, rows, columns], got shape {tuple(weights.shape)}")
    if 0 in weights.shape[-2:]:
        return jnp.zeros(weights.shape[:-2], weights.dtype)
    return jnp.mean(jnp.abs(weights), axis=(-2, -1))
