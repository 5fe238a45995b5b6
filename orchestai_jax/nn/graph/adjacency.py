"""Dense adjacency as the graph layers take it: A[s, t] is the weight of the edge s -> t."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def without_masked(adjacency: Float[Array, "batch n n"], mask: Bool[Array, "batch n"]) -> Float[Array, "batch n n"]:
    """The adjacency with no edge from or to a masked node."""
    valid = mask.astype(adjacency.dtype)
    return adjacency * valid[:, :, None] * valid[:, None, :]


def with_self_loops(adjacency: Float[Array, "batch n n"]) -> Float[Array, "batch n n"]:
    """The adjacency with an edge of weight 1 from each node to itself where there is none; given ones keep theirs."""
    looped = jnp.eye(adjacency.shape[1], dtype=bool) & (adjacency == 0)
    return jnp.where(looped, 1.0, adjacency)
