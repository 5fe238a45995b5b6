"""The task decomposer: an autoregressive decoder over the catalog, until stop."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from orchestai_jax.nn import DECODER_BLOCKS
from orchestai_jax.planner.catalog_arrays import CatalogArrays
from orchestai_jax.planner.scaled_cosine import unit
from orchestai_jax.planner.task_type_embedding import follows, identity_init


class Glimpse(nnx.Module):
    """The decoder's state points at tokens and takes what stands there, as it is, into the state (a glimpse, as in
    Vinyals et al. 2016, Order Matters): near to a description's vector from the start, as both are from one encoder."""

    def __init__(self, hidden_size: int, *, rngs: nnx.Rngs):
        self.query = nnx.Linear(hidden_size, hidden_size, rngs=rngs)
        self.key = nnx.Linear(hidden_size, hidden_size, rngs=rngs)
        self.value = nnx.Linear(hidden_size, hidden_size, kernel_init=identity_init, rngs=rngs)
        self.weight = nnx.Param(jnp.array(1.0))

    def __call__(
        self, x: Float[Array, "batch n hidden"], hidden: Float[Array, "batch k hidden"], mask: Bool[Array, "batch k"]
    ) -> Float[Array, "batch n hidden"]:
        """The states, each with the direction of what it points at added to its own."""
        scores = jnp.einsum("bnd,bkd->bnk", self.query(x), self.key(hidden)) * hidden.shape[-1] ** -0.5
        weights = jax.nn.softmax(jnp.where(mask[:, None, :], scores, jnp.finfo(scores.dtype).min), axis=-1)
        seen = jnp.einsum("bnk,bkd->bnd", weights, self.value(hidden))
        return (unit(x) + self.weight[...] * unit(seen)) * x.shape[-1] ** 0.5


class Decomposer(nnx.Module):
    """One decoder block (transformer or LSTM) over the task types chosen so far, attending to the instruction's tokens.

    The logit of a type is its scaled cosine with the decoder's state, plus learned weights times its multi-label
    score, the log count of it following the previous type in training, and whether the tool graph links the two.
    """

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        max_tasks: int,
        *,
        kind: str,
        dropout: float,
        initial_scale: float,
        glimpse: bool,
        rngs: nnx.Rngs,
    ):
        normal = nnx.initializers.normal(0.02)
        self.max_tasks = max_tasks
        self.begin = nnx.Param(normal(rngs.params(), (hidden_size,)))
        self.stop = nnx.Param(normal(rngs.params(), (hidden_size,)))
        self.position = nnx.Param(normal(rngs.params(), (max_tasks + 1, hidden_size)))
        self.project = nnx.Linear(hidden_size, hidden_size, rngs=rngs)
        self.block = DECODER_BLOCKS[kind](hidden_size, num_heads, 2 * hidden_size, dropout=dropout, rngs=rngs)
        self.norm = nnx.LayerNorm(hidden_size, rngs=rngs)
        self.glimpse = Glimpse(hidden_size, rngs=rngs) if glimpse else None
        self.scale = nnx.Param(jnp.array(initial_scale))
        self.label_weight = nnx.Param(jnp.array(0.2))
        self.transition_weight = nnx.Param(jnp.array(0.2))
        self.link_weight = nnx.Param(jnp.array(0.0))
        self.stop_bias = nnx.Param(jnp.array(0.0))

    def inputs(
        self,
        task_types: Float[Array, "T hidden"],
        chosen: Int[Array, "batch n"],
        projected: Float[Array, "T hidden"] | None = None,
    ) -> Float[Array, "batch n hidden"]:
        """What the decoder reads for chosen types (T = the start), without positions.

        `projected`: what `project` makes of `task_types`, where that is known.
        """
        vectors = jnp.take(task_types if projected is None else projected, chosen, axis=0, mode="fill", fill_value=0.0)
        is_start = (chosen == task_types.shape[0])[..., None]
        return jnp.where(is_start, self.begin[...], self.project(vectors) if projected is None else vectors)

    def states(
        self,
        task_types: Float[Array, "T hidden"],
        chosen: Int[Array, "batch n"],
        hidden: Float[Array, "batch k hidden"],
        mask: Bool[Array, "batch k"],
        *,
        rngs: nnx.Rngs | None = None,
    ) -> Float[Array, "batch n hidden"]:
        """Decoder states when `chosen` (start first) is given: state j has seen chosen[: j + 1]."""
        x = self.inputs(task_types, chosen) + self.position[...][: chosen.shape[1]]
        return self.state(self.block(x, hidden, mask, rngs=rngs), hidden, mask)

    def state(
        self, x: Float[Array, "batch n hidden"], hidden: Float[Array, "batch k hidden"], mask: Bool[Array, "batch k"]
    ) -> Float[Array, "batch n hidden"]:
        """The decoder's state from the block's output, with the glimpse of the tokens where there is one."""
        x = self.norm(x)
        return x if self.glimpse is None else self.glimpse(x, hidden, mask)

    def logits(
        self,
        catalog: CatalogArrays,
        directions: Float[Array, "T hidden"],
        states: Float[Array, "batch hidden"],
        previous: Int[Array, "batch"],
        labels: Float[Array, "batch T"],
    ) -> Float[Array, "batch T1"]:
        """Logits of each next type and, last, of stop. `directions` are the types' unit vectors, `labels` the
        multi-label log-odds."""
        counts, stop_counts, linked = follows(catalog, previous)
        state = unit(states)
        scale, counted = self.scale[...], self.transition_weight[...]
        of_types = (
            scale * state @ directions.T
            + self.label_weight[...] * labels
            + counted * counts
            + self.link_weight[...] * linked
        )
        of_stop = scale * state @ unit(self.stop[...]) + counted * stop_counts + self.stop_bias[...]
        return jnp.concatenate([of_types, of_stop[:, None]], axis=-1)
