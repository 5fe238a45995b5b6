"""Scores every task type of the catalog against the instruction at once."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from orchestai_jax.planner.scaled_cosine import unit
from orchestai_jax.planner.text_encoder import mean_pool


class LabelHead(nnx.Module):
    """Each task type attends to the tokens by scaled cosine; its log-odds is its cosine with what it attended to plus
    its cosine with the pooled instruction, both with learned scales."""

    def __init__(self, hidden_size: int, *, initial_scale: float, initial_bias: float, rngs: nnx.Rngs):
        self.key = nnx.Linear(hidden_size, hidden_size, rngs=rngs)
        self.value = nnx.Linear(hidden_size, hidden_size, rngs=rngs)
        self.pooled = nnx.Linear(hidden_size, hidden_size, rngs=rngs)
        self.attention_scale = nnx.Param(jnp.array(initial_scale))
        self.token_scale = nnx.Param(jnp.array(initial_scale))
        self.pooled_scale = nnx.Param(jnp.array(initial_scale))
        self.bias = nnx.Param(jnp.array(initial_bias))

    def __call__(
        self,
        hidden: Float[Array, "batch n hidden"],
        mask: Bool[Array, "batch n"],
        task_types: Float[Array, "T hidden"],
    ) -> tuple[Float[Array, "batch T"], Float[Array, "batch T hidden"]]:
        """Log-odds that each task type is wanted, and what each attended to."""
        types = unit(task_types)
        keys = unit(self.key(hidden))
        scores = self.attention_scale[...] * jnp.einsum("td,bnd->btn", types, keys)
        weights = jax.nn.softmax(jnp.where(mask[:, None, :], scores, jnp.finfo(scores.dtype).min), axis=-1)
        attended = jnp.einsum("btn,bnd->btd", weights, self.value(hidden))
        by_token = jnp.einsum("btd,td->bt", unit(attended), types)
        by_pooled = jnp.einsum("bd,td->bt", unit(self.pooled(mean_pool(hidden, mask))), types)
        logits = self.token_scale[...] * by_token + self.pooled_scale[...] * by_pooled + self.bias[...]
        return logits, attended
