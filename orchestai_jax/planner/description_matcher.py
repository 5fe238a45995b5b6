"""Matches the parts of an instruction with descriptions: for task types that training never saw."""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx, struct
from jaxtyping import Array, Bool, Float, Int

from orchestai_jax.planner.scaled_cosine import unit
from orchestai_jax.planner.segments import KINDS

# Where training starts: near what was fitted on Seal-Tools' dev.jsonl (five parts, the same within a tenth).
_WEIGHTS = (7.7, 2.8, 3.3, 2.8)
_KIND_BIAS = (-0.6, 1.2, -1.2, -1.4)
_BIAS, _RIVALRY, _LENGTH = -8.2, 1.4, -0.6


@struct.dataclass
class Evidence:
    """The segments of a batch of instructions against the T task types of a catalog."""

    vectors: Float[Array, "batch S hidden"]
    """Unit vectors, of the encoder that the descriptions' are of."""
    kinds: Int[Array, "batch S"]
    """See planner.segments; -1 for padding."""
    starts: Int[Array, "batch S"]
    """The first token of each segment."""
    overlap: Float[Array, "batch S T 3"]
    """Shares of words in common, see planner.lexical_overlap."""


class DescriptionMatcher(nnx.Module):
    """The log-odds of a task type by its best segment: cosine and shared words, each with a learned weight.

    Types compete for segments: what a type falls short of the best one of a segment counts against it, times a
    learned rivalry. So of many types that are like the instruction, those stay that explain a part of it best. All of
    it is eleven numbers, which cannot learn types by heart. The form is late interaction (Khattab & Zaharia 2020,
    ColBERT) with segments in place of tokens.
    """

    def __init__(self) -> None:
        self.weights = nnx.Param(jnp.array(_WEIGHTS))
        self.kind_bias = nnx.Param(jnp.array(_KIND_BIAS))
        self.bias = nnx.Param(jnp.array(_BIAS))
        self.rivalry = nnx.Param(jnp.array(_RIVALRY))
        self.length_weight = nnx.Param(jnp.array(_LENGTH))

    def __call__(
        self, evidence: Evidence, descriptions: Float[Array, "T hidden"]
    ) -> tuple[Float[Array, "batch T"], Int[Array, "batch T"]]:
        """Log-odds that each task type is wanted, and its best segment."""
        cosine = jnp.einsum("bsd,td->bst", evidence.vectors, unit(descriptions))
        match, _ = self.match(cosine, evidence.overlap @ self.weights[...][1:], evidence.kinds)
        return self.log_odds(match, evidence.kinds), jnp.argmax(match, axis=1)

    def match(
        self, cosine: Float[Array, "batch S T"], shared: Float[Array, "batch S T"], kinds: Int[Array, "batch S"]
    ) -> tuple[Float[Array, "batch S T"], Float[Array, "batch S T"]]:
        """How well each segment speaks for each type after rivalry, the lowest number for padding; and how far the type
        falls short of the segment's best one. `shared` are the weighted shares of words in common, summed."""
        match = self.weights[...][0] * cosine + shared
        match = match + self.kind_bias[...][jnp.clip(kinds, 0, KINDS - 1)][..., None]
        short = jnp.max(match, axis=-1, keepdims=True) - match
        lowest = jnp.finfo(match.dtype).min
        return jnp.where((kinds >= 0)[..., None], match - self.rivalry[...] * short, lowest), short

    def log_odds(self, match: Float[Array, "batch S T"], kinds: Int[Array, "batch S"]) -> Float[Array, "batch T"]:
        """Log-odds that each task type is wanted, by its best segment."""
        length = jnp.log(jnp.maximum(jnp.sum(kinds >= 0, axis=1, keepdims=True), 1.0))
        return jnp.max(match, axis=1) + self.bias[...] + self.length_weight[...] * length


def segment_vectors(
    hidden: Float[Array, "batch n hidden"], inside: Bool[Array, "batch S n"]
) -> Float[Array, "batch S hidden"]:
    """Unit vectors of segments: the mean over the tokens inside each; zero where there are none."""
    return unit(jnp.einsum("bsn,bnd->bsd", inside.astype(hidden.dtype), hidden))
