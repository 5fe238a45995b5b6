"""Reads the segments of instructions for the description matcher: their tokens, their kinds, the words they share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from orchestai_jax.data.tokenizer import clean_text
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


class EvidenceReader:
    """Reads instructions against one catalog."""

    def __init__(self, catalog: Catalog):
        self._lexicon = Lexicon(catalog)
        self._size = len(catalog.task_types)

    def read(self, texts: Sequence[str], offsets: Sequence[Offsets], padded_length: int) -> SegmentArrays:
        """The segments of texts (cleaned here) whose tokens stand at `offsets`."""
        rows = num_segments(padded_length)
        cleaned = [clean_text(text) for text in texts]
        found = [split_segments(text, rows) for text in cleaned]
        laid = [token_membership(f, o, rows, padded_length) for f, o in zip(found, offsets, strict=True)]
        inside, kinds = (np.stack(x) for x in zip(*laid, strict=True))
        return SegmentArrays(inside, kinds, self.overlap(cleaned, found, kinds))

    def overlap(
        self, texts: Sequence[str], segments: Sequence[Sequence[Segment]], kinds: Int[np.ndarray, "batch S"]
    ) -> Float[np.ndarray, "batch S T 3"]:
        """The shared words of those segments that are not padding; each text's as far as `kinds` has rows."""
        overlap = np.zeros((*kinds.shape, self._size, OVERLAPS), np.float32)
        rows = [(i, s) for i, row in enumerate(kinds) for s in np.flatnonzero(row >= 0).tolist()]
        parts = [texts[i][segments[i][s].start : segments[i][s].end] for i, s in rows]
        # One text may hold a segment many times over (a single clause is also the whole): each is weighed once.
        distinct = {part: k for k, part in enumerate(dict.fromkeys(parts))}
        shares = self._lexicon.overlap(list(distinct))
        for (i, s), part in zip(rows, parts, strict=True):
            overlap[i, s] = shares[distinct[part]]
        return overlap
