"""Multi-head attention over dense sequences, split into projections and mixing so that keys can be cached."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float


class MultiHeadAttention(nnx.Module):
    """Scaled dot-product attention with `num_heads` heads (Vaswani et al. 2017, section 3.2).

    Raises ValueError when `num_heads` does not divide `hidden_size`.
    """

    def __init__(self, hidden_size: int, num_heads: int, *, rngs: nnx.Rngs):
        if hidden_size % num_heads:
            raise ValueError(f"num_heads must divide hidden_size: {num_heads} does not divide {hidden_size}")
        self.num_heads = num_heads
        self.query = nnx.Linear(hidden_size, hidden_size, rngs=rngs)
        self.key = nnx.Linear(hidden_size, hidden_size, rngs=rngs)
        self.value = nnx.Linear(hidden_size, hidden_size, rngs=rngs)
        self.out = nnx.Linear(hidden_size, hidden_size, rngs=rngs)

    def __call__(
        self,
        queries: Float[Array, "batch q hidden"],
        context: Float[Array, "batch k hidden"],
        mask: Bool[Array, "#batch #q k"],
    ) -> Float[Array, "batch q hidden"]:
        """Attend from `queries` to `context`; `mask` is True where attention is allowed."""
        return self.attend(queries, *self.keys_values(context), mask)

    def keys_values(self, context: Float[Array, "batch k hidden"]) -> tuple[Array, Array]:
        """The keys and values of `context`, each [batch, k, heads, head_dim]."""
        return self._split(self.key(context)), self._split(self.value(context))

    def attend(
        self,
        queries: Float[Array, "batch q hidden"],
        keys: Float[Array, "batch k heads head_dim"],
        values: Float[Array, "batch k heads head_dim"],
        mask: Bool[Array, "#batch #q k"],
    ) -> Float[Array, "batch q hidden"]:
        """Attend to keys and values made by `keys_values`."""
        query = self._split(self.query(queries))  # [batch, q, heads, head_dim]
        scores = jnp.einsum("bqhd,bkhd->bhqk", query, keys) * query.shape[-1] ** -0.5
        scores = jnp.where(mask[:, None], scores, jnp.finfo(scores.dtype).min)
        weights = jax.nn.softmax(scores, axis=-1)
        mixed = jnp.einsum("bhqk,bkhd->bqhd", weights, values)
        return self.out(mixed.reshape(*mixed.shape[:2], -1))

    def _split(self, x: Float[Array, "batch n hidden"]) -> Float[Array, "batch n heads head_dim"]:
        return x.reshape(*x.shape[:-1], self.num_heads, -1)
