"""Segments of an instruction: its clauses, runs of two and three of them, and the whole, as sets of tokens."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int

from orchestai_jax.planner.arguments.clauses import split_clauses

WHOLE = 3
"""The kind of the segment that is the whole instruction; 0, 1 and 2 are runs of one, two and three clauses."""
KINDS = 4
PADDING = -1


@dataclasses.dataclass(frozen=True, slots=True)
class Segment:
    """[`start`, `end`) of the cleaned instruction, and its kind."""

    start: int
    end: int
    kind: int


def num_segments(padded_length: int) -> int:
    """How many segments are looked at in an instruction of so many (padded) tokens."""
    return max(16, padded_length // 2)


def split_segments(text: str, most: int) -> list[Segment]:
    """At most so many segments of a text: the whole, then its clauses in order, then runs of two, then of three."""
    clauses = split_clauses(text)
    segments = [Segment(0, len(text), WHOLE)]
    for run in range(1, WHOLE + 1):
        pairs = zip(clauses, clauses[run - 1 :], strict=False)
        segments += [Segment(first.start, last.end, run - 1) for first, last in pairs]
    return segments[:most]


def token_membership(
    segments: Sequence[Segment], offsets: Sequence[tuple[int, int]], rows: int, padded_length: int
) -> tuple[Bool[np.ndarray, "S n"], Int[np.ndarray, "S"]]:
    """Which tokens lie in each segment, and the segments' kinds, padded to so many rows.

    The whole holds the special tokens too. A segment without tokens (beyond what was read) counts as padding.
    """
    inside = np.zeros((rows, padded_length), bool)
    kinds = np.full(rows, PADDING, np.int32)
    bounds = np.array(offsets, np.int64).reshape(-1, 2)[:padded_length]
    real = bounds[:, 1] > bounds[:, 0]
    for row, segment in enumerate(segments[:rows]):
        held = real & (bounds[:, 1] > segment.start) & (bounds[:, 0] < segment.end)
        if segment.kind == WHOLE:
            held = np.ones(len(bounds), bool)
        if held.any():
            inside[row, : len(bounds)] = held
            kinds[row] = segment.kind
    return inside, kinds
