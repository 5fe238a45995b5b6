"""Reads the segments of instructions for the description matcher: their tokens, their kinds, the words they share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from orchestai_jax.data.tokenizer import clean_text
from orchestai_jax.planner.description_matcher import Evidence
from orchestai_jax.planner.lexical_overlap import OVERLAPS, Lexicon
from orchestai_jax.planner.segments import Segment, num_segments, split_segments, token_membership
from orchestai_jax.workflow import Catalog

Offsets = Sequence[tuple[int, int]]
"""Where each token of a cleaned text stands in it, see Tokenizer.offsets."""


@struct.dataclass
class SegmentArrays:
    """What the host finds in a batch of instructions; `PlannerModel.evidence` makes Evidence of it."""

    inside: Bool[Array | np.ndarray, "batch S n"]
    """Which tokens lie in each segment."""
    kinds: Int[Array | np.ndarray, "batch S"]
    """See planner.segments; -1 for padding."""
    overlap: Float[Array | np.ndarray, "batch S T 3"]
    """See planner.lexical_overlap."""

    def evidence(self, vectors: Float[Array, "batch S hidden"]) -> Evidence:
        """The evidence, with the segments' unit vectors."""
        kinds, overlap = jnp.asarray(self.kinds), jnp.asarray(self.overlap)
        return Evidence(vectors, kinds, jnp.argmax(jnp.asarray(self.inside), axis=-1), overlap)


@dataclasses.dataclass(frozen=True)
class SplitTexts:
    """Texts and their segments, without regard to any catalog."""

    texts: Sequence[str]
    """Cleaned."""
    segments: Sequence[Sequence[Segment]]
    inside: Bool[np.ndarray, "batch S n"]
    kinds: Int[np.ndarray, "batch S"]

    @classmethod
    def of(cls, texts: Sequence[str], offsets: Sequence[Offsets], padded_length: int) -> SplitTexts:
        """The segments of texts (cleaned here) whose tokens stand at `offsets`."""
        rows = num_segments(padded_length)
        cleaned = [clean_text(text) for text in texts]
        found = [split_segments(text, rows) for text in cleaned]
        laid = [token_membership(f, o, rows, padded_length) for f, o in zip(found, offsets, strict=True)]
        inside, kinds = (np.stack(x) for x in zip(*laid, strict=True))
        return cls(cleaned, found, inside, kinds)


class EvidenceReader:
    """Reads instructions against one catalog, or against some of its task types."""

    def __init__(self, lexicon: Lexicon, types: Int[np.ndarray, "C"] | None = None):
        """`types`: positions in the lexicon's catalog; None for all of it."""
        self._lexicon, self._types = lexicon, types

    @classmethod
    def of(cls, catalog: Catalog) -> EvidenceReader:
        """A reader against a whole catalog."""
        return cls(Lexicon(catalog))

    def read(self, texts: Sequence[str], offsets: Sequence[Offsets], padded_length: int) -> SegmentArrays:
        """The segments of texts (cleaned here) whose tokens stand at `offsets`."""
        split = SplitTexts.of(texts, offsets, padded_length)
        return SegmentArrays(split.inside, split.kinds, self.overlap(split.texts, split.segments, split.kinds))

    def overlap(
        self, texts: Sequence[str], segments: Sequence[Sequence[Segment]], kinds: Int[np.ndarray, "batch S"]
    ) -> Float[np.ndarray, "batch S T 3"]:
        """The shared words of those segments that are not padding; each text's as far as `kinds` has rows."""
        size = self._lexicon.size if self._types is None else len(self._types)
        return of_segments(
            lambda parts: self._lexicon.overlap(parts, self._types), texts, segments, kinds, (size, OVERLAPS)
        )


def of_segments(
    measure: Callable[[list[str]], Float[np.ndarray, "n ..."]],
    texts: Sequence[str],
    segments: Sequence[Sequence[Segment]],
    kinds: Int[np.ndarray, "batch S"],
    shape: tuple[int, ...],
) -> Float[np.ndarray, "batch S ..."]:
    """What `measure` finds in the words of each segment, an array of `shape` a text; zeros for padding."""
    found = np.zeros((*kinds.shape, *shape), np.float32)
    rows = [(i, s) for i, row in enumerate(kinds) for s in np.flatnonzero(row >= 0).tolist()]
    parts = [texts[i][segments[i][s].start : segments[i][s].end] for i, s in rows]
    # One text may hold a segment many times over (a single clause is also the whole): each is weighed once.
    distinct = {part: k for k, part in enumerate(dict.fromkeys(parts))}
    measured = measure(list(distinct))
    for (i, s), part in zip(rows, parts, strict=True):
        found[i, s] = measured[distinct[part]]
    return found
