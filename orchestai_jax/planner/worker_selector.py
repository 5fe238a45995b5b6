"""The worker selector: a distribution over the workers that can do a task, and an estimate of its complexity."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from orchestai_jax.planner.catalog_arrays import CatalogArrays
from orchestai_jax.planner.task_type_embedding import DescribedEmbedding

NUM_WEIGHTS = 3
"""Of success, cost and latency."""


class PreferenceListener(nnx.Module):
    """Hears in an instruction how its author weighs success, cost and latency.

    Each weight has a query of its own that attends to the tokens ("quickly", "as good as it gets"); what it attended to
    moves the weight's logarithm. Nothing is heard before training.
    """

    def __init__(self, in_size: int, hidden_size: int, *, rngs: nnx.Rngs):
        self.query = nnx.Param(nnx.initializers.normal(1.0)(rngs.params(), (NUM_WEIGHTS, hidden_size)))
        self.key = nnx.Linear(in_size, hidden_size, rngs=rngs)
        self.value = nnx.Linear(in_size, hidden_size, rngs=rngs)
        self.moved = nnx.Param(jnp.zeros((NUM_WEIGHTS, hidden_size)))
        self.bias = nnx.Param(jnp.zeros(NUM_WEIGHTS))

    def __call__(self, tokens: Float[Array, "batch n hidden"], mask: Bool[Array, "batch n"]) -> Float[Array, "batch 3"]:
        """How far the instruction moves the logarithms of the three weights."""
        scores = jnp.einsum("kh,bnh->bkn", self.query[...], self.key(tokens)) * self.query.shape[-1] ** -0.5
        weights = jax.nn.softmax(jnp.where(mask[:, None, :], scores, jnp.finfo(scores.dtype).min), axis=-1)
        heard = jnp.einsum("bkn,bnh->bkh", weights, jax.nn.gelu(self.value(tokens)))
        return jnp.einsum("bkh,kh->bk", heard, self.moved[...]) + self.bias[...]


class WorkerSelector(nnx.Module):
    """logit(worker | task, preference) = scale × utility(worker) + query(task) · key(worker).

    The utility is quality x w1 - cost x w2 - latency x w3 over the declared figures. The weights w are the preference's
    own, moved by what the instruction says: w = preference x exp(heard), see PreferenceListener. The second term
    starts at zero and learns what the figures do not tell. Keys are made of a worker's description, a learned vector
    and its figures, so a worker that training never saw can be chosen too.
    """

    def __init__(
        self,
        state_size: int,
        instruction_size: int,
        description_size: int,
        num_workers: int,
        hidden_size: int,
        *,
        rngs: nnx.Rngs,
    ):
        zeros = nnx.initializers.zeros_init()
        self.hidden = nnx.Linear(state_size + 3, 2 * hidden_size, rngs=rngs)
        self.query = nnx.Linear(2 * hidden_size, hidden_size, kernel_init=zeros, rngs=rngs)
        self.complexity = nnx.Linear(2 * hidden_size, 1, rngs=rngs)
        self.listener = PreferenceListener(instruction_size, hidden_size, rngs=rngs)
        self.worker = DescribedEmbedding(description_size, hidden_size, num_workers, rngs=rngs)
        self.declared = nnx.Linear(3, hidden_size, use_bias=False, rngs=rngs)
        self.utility_scale = nnx.Param(jnp.array(10.0))

    def __call__(
        self,
        catalog: CatalogArrays,
        states: Float[Array, "batch n state"],
        heard: Float[Array, "batch 3"],
        chosen: Int[Array, "batch n"],
        preference: Float[Array, "batch 3"],
    ) -> tuple[Float[Array, "batch n M"], Float[Array, "batch n"]]:
        """Log-probabilities of the chosen types' workers (rows of `catalog.able`; about -inf for padding), and
        log-odds of the complexity.

        `preference` holds the weights of success, cost and latency, `heard` is what `listener` makes of the text.
        """
        safe = jnp.minimum(chosen, catalog.known.shape[0] - 1)
        spread = jnp.broadcast_to(preference[:, None, :], (*states.shape[:2], 3))
        hidden = jax.nn.gelu(self.hidden(jnp.concatenate([states, spread], axis=-1)))
        declared = catalog.worker_features[safe]  # [batch, n, M, 3]
        able = catalog.able[safe]  # [batch, n, M]
        described = self.worker(catalog.workers, catalog.worker_known)  # [W, hidden]
        keys = jnp.take(described, able, axis=0, mode="clip") + self.declared(declared)
        residual = jnp.einsum("bnh,bnwh->bnw", self.query(hidden), keys) * keys.shape[-1] ** -0.5
        weights = preference * jnp.exp(heard)
        utility = jnp.einsum("bnwf,bf->bnw", declared * jnp.array([1.0, -1.0, -1.0]), weights)
        logits = jnp.where(
            able < catalog.workers.shape[0], self.utility_scale[...] * utility + residual, jnp.finfo(residual.dtype).min
        )
        return jax.nn.log_softmax(logits, axis=-1), self.complexity(hidden)[..., 0]
