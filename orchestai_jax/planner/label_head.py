"""Scores every task type of the catalog against the instruction at once."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx, struct
from jaxtyping import Array, Bool, Float, Int

from orchestai_jax.planner.scaled_cosine import unit
from orchestai_jax.planner.task_type_embedding import identity_init
from orchestai_jax.planner.text_encoder import mean_pool


class LabelHead(nnx.Module):
    """Each task type attends to the tokens by scaled cosine; its log-odds is its cosine with what it attended to plus
    its cosine with the pooled instruction, both with learned scales.

    With `start="identity"` the projections start as the identity, so that before any training a task type's log-odds is
    how near its description lies to the instruction and to its nearest tokens: what a type never trained on needs.
    """

    def __init__(
        self, hidden_size: int, *, initial_scale: float, initial_bias: float, start: ProjectionStart, rngs: nnx.Rngs
    ):
        init = kernel_init(start)
        self.key = nnx.Linear(hidden_size, hidden_size, kernel_init=init, rngs=rngs)
        self.value = nnx.Linear(hidden_size, hidden_size, kernel_init=init, rngs=rngs)
        self.pooled = nnx.Linear(hidden_size, hidden_size, kernel_init=init, rngs=rngs)
        self.attention_scale = nnx.Param(jnp.array(initial_scale))
        self.token_scale = nnx.Param(jnp.array(initial_scale))
        self.pooled_scale = nnx.Param(jnp.array(initial_scale))
        self.bias = nnx.Param(jnp.array(initial_bias))

    def __call__(
        self,
        hidden: Float[Array, "batch n hidden"],
        mask: Bool[Array, "batch n"],
        task_types: Float[Array, "T hidden"],
    ) -> tuple[Float[Array, "batch T"], Attended]:
        """Log-odds that each task type is wanted, and what each attended to."""
        types = unit(task_types)
        scores = self.attention_scale[...] * jnp.einsum("td,bnd->btn", types, unit(self.key(hidden)))
        weights = jax.nn.softmax(jnp.where(mask[:, None, :], scores, jnp.finfo(scores.dtype).min), axis=-1)
        values = self.value(hidden)
        # cos(attended, type) without the vectors [batch, T, hidden] of what was attended to, the largest array of all
        # over a large catalog: with A = weights V, A . type = weights (V type) and |A|^2 = weights (V V') weights'.
        along = jnp.einsum("btn,btn->bt", weights, jnp.einsum("td,bnd->btn", types, values))
        gram = jnp.einsum("bnd,bmd->bnm", values, values)
        squared = jnp.einsum("btn,btn->bt", weights, jnp.einsum("btm,bmn->btn", weights, gram))
        by_token = along / jnp.sqrt(jnp.maximum(squared, 0.0) + 1e-12)
        by_pooled = jnp.einsum("bd,td->bt", unit(self.pooled(mean_pool(hidden, mask))), types)
        logits = self.token_scale[...] * by_token + self.pooled_scale[...] * by_pooled + self.bias[...]
        return logits, Attended(weights, values)


@struct.dataclass
class Attended:
    """What each task type attended to, as weights over the tokens' values."""

    weights: Float[Array, "batch T n"]
    """Each row sums to 1."""
    values: Float[Array, "batch n hidden"]

    def of(self, chosen: Int[Array, "batch J"]) -> Float[Array, "batch J hidden"]:
        """What the chosen task types (below T) attended to."""
        weights = jnp.take_along_axis(self.weights, chosen[..., None], axis=1)
        return jnp.einsum("bjn,bnd->bjd", weights, self.values)


ProjectionStart = Literal["random", "identity"]


def kernel_init(start: ProjectionStart) -> nnx.Initializer:
    """How the kernel of a square projection is drawn."""
    return identity_init if start == "identity" else nnx.initializers.lecun_normal()
