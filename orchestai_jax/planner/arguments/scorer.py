"""The learned scorer of arguments: a span of the instruction, an earlier output, or nothing, for each parameter."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float

from orchestai_jax.planner.arguments.queries import QUERY_FEATURES, SPAN_FEATURES, Queries
from orchestai_jax.planner.arguments.reference_features import REFERENCE_FEATURES

_IMPOSSIBLE = -1e9
_NOTHING_BIAS, _SOURCE_BIAS = 3.0, -3.0
"""Where the choices start: most parameters are not said, few are references."""


class ChoiceScorer(nnx.Module):
    """Scores the alternatives of a query by their features and the query's: a linear part and one hidden layer."""

    def __init__(self, features: int, hidden: int, dropout: float, *, rngs: nnx.Rngs):
        self.direct = nnx.Linear(features, 1, use_bias=False, kernel_init=nnx.initializers.zeros, rngs=rngs)
        self.alternative = nnx.Linear(features, hidden, rngs=rngs)
        self.query = nnx.Linear(QUERY_FEATURES, hidden, use_bias=False, rngs=rngs)
        self.out = nnx.Linear(hidden, 1, use_bias=False, rngs=rngs)
        self.dropout = nnx.Dropout(dropout, broadcast_dims=(1,))

    def __call__(
        self, alternatives: Float[Array, "Q A f"], slots: Float[Array, "Q Fq"], *, rngs: nnx.Rngs | None = None
    ) -> Float[Array, "Q A"]:
        """A score for each alternative."""
        hidden = nnx.gelu(self.alternative(alternatives) + self.query(slots)[:, None])
        hidden = self.dropout(hidden, deterministic=rngs is None, rngs=rngs)
        return (self.out(hidden) + self.direct(alternatives))[..., 0]


class ArgumentScorer(nnx.Module):
    """For each query a distribution over its spans, its sources, and `nothing`."""

    def __init__(self, hidden: int, dropout: float = 0.0, *, rngs: nnx.Rngs):
        self.spans = ChoiceScorer(SPAN_FEATURES, hidden, dropout, rngs=rngs)
        self.sources = ChoiceScorer(REFERENCE_FEATURES, max(hidden // 2, 1), dropout, rngs=rngs)
        self.nothing = ChoiceScorer(1, max(hidden // 2, 1), dropout, rngs=rngs)
        self.bias = nnx.Param(jnp.array([_SOURCE_BIAS, _NOTHING_BIAS]))

    def __call__(self, queries: Queries, *, rngs: nnx.Rngs | None = None) -> Float[Array, "Q choices"]:
        """Log-probabilities: spans, then sources, then nothing. Dropout acts only when `rngs` is given."""
        slots = jnp.asarray(queries.slots)
        bias = self.bias[...]
        spans = self.spans(jnp.asarray(queries.spans), slots, rngs=rngs)
        sources = self.sources(jnp.asarray(queries.sources), slots, rngs=rngs) + bias[0]
        nothing = self.nothing(jnp.ones((len(slots), 1, 1)), slots, rngs=rngs) + bias[1]
        scores = [_masked(spans, queries.span_mask), _masked(sources, queries.source_mask), nothing]
        return jax.nn.log_softmax(jnp.concatenate(scores, axis=1), axis=-1)


def argument_loss(
    scorer: ArgumentScorer,
    queries: Queries,
    right: Bool[Array, "Q choices"],
    weights: Float[Array, "Q"],
    *,
    rngs: nnx.Rngs | None = None,
) -> Float[Array, ""]:
    """Mean cross-entropy in nats of choosing any of the right alternatives: a value may be said more than once."""
    logp = scorer(queries, rngs=rngs)
    chosen = jax.nn.logsumexp(jnp.where(right, logp, _IMPOSSIBLE), axis=-1)
    return -jnp.sum(chosen * weights) / jnp.maximum(jnp.sum(weights), 1.0)


def _masked(scores: Float[Array, "Q A"], mask: Array | np.ndarray) -> Float[Array, "Q A"]:
    return jnp.where(jnp.asarray(mask), scores, _IMPOSSIBLE)
