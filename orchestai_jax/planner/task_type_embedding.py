"""Vectors of task types: what the description says, plus what training learned about the type itself."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, ArrayLike, Float, Int

from orchestai_jax.planner.catalog_arrays import CatalogArrays


class DescribedEmbedding(nnx.Module):
    """e = W d + u: d is the description's vector, W starts as identity, u is free and starts at zero.

    Rows whose `known` index is past the table (never seen in training) get u = 0, so a description alone will do.
    """

    def __init__(self, in_size: int, out_size: int, num_known: int, *, rngs: nnx.Rngs):
        init = identity_init if in_size == out_size else nnx.initializers.lecun_normal()
        self.project = nnx.Linear(in_size, out_size, use_bias=False, kernel_init=init, rngs=rngs)
        self.free_embedding = nnx.Param(jnp.zeros((num_known, out_size)))

    def __call__(
        self,
        descriptions: Float[Array, "n in"],
        known: Int[Array, "n"],
        *,
        dropout: float = 0.0,
        key: Array | None = None,
    ) -> Float[Array, "n out"]:
        """Embed n things; with `key`, whole free vectors are dropped with probability `dropout`."""
        free = jnp.take(self.free_embedding[...], known, axis=0, mode="fill", fill_value=0.0)
        if key is not None and dropout > 0:
            keep = jax.random.bernoulli(key, 1 - dropout, (free.shape[0], 1))
            free = jnp.where(keep, free, 0.0)
        return self.project(descriptions) + free


def embedded_rows(
    parameters: Mapping[str, ArrayLike], name: str, descriptions: Float[np.ndarray, "n in"], known: Int[np.ndarray, "n"]
) -> Float[np.ndarray, "n out"]:
    """What the DescribedEmbedding whose parameters' names begin with `name` makes of n things, on the host."""
    free = np.asarray(parameters[f"{name}.free_embedding"])
    rows = np.asarray(descriptions) @ np.asarray(parameters[f"{name}.project.kernel"])
    seen = np.asarray(known) < len(free)
    rows[seen] += free[np.asarray(known)[seen]]
    return rows


def identity_init(key: Array, shape: tuple[int, ...], dtype=jnp.float32) -> Array:
    """The identity matrix, as an initializer of a linear layer's kernel."""
    del key
    return jnp.eye(*shape, dtype=dtype)


def follows(catalog: CatalogArrays, previous: Int[Array, "batch"]) -> tuple[Array, Array, Array]:
    """What is known about the task type after `previous` (T = start): see the return.

    Returns log counts of each next type [batch, T], log counts of stopping [batch], and whether the tool graph links
    `previous` to each type [batch, T].
    """
    size, num_known = catalog.known.shape[0], catalog.transitions.shape[0] - 2
    rows = jnp.where(previous == size, num_known, jnp.take(catalog.known, previous, mode="clip"))
    counts = catalog.transitions[rows]  # [batch, K + 2]
    neighbours = jnp.take(catalog.neighbours, previous, axis=0, mode="fill", fill_value=size)  # [batch, M]
    batch = jnp.arange(previous.shape[0])[:, None]
    linked = jnp.zeros((previous.shape[0], size + 1)).at[batch, neighbours].set(1.0)[:, :size]
    return jnp.take(counts, catalog.known, axis=1), counts[:, num_known], linked
