"""All that the scorer is told of an instruction's parameters: one query a parameter, as arrays."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float

from orchestai_jax.planner.arguments.clauses import Alignment
from orchestai_jax.planner.arguments.fitting_values import value_for
from orchestai_jax.planner.arguments.pair_features import PAIR_FEATURES, PairReader, Vectors
from orchestai_jax.planner.arguments.reference_features import (
    POINTING_FEATURES,
    REFERENCE_FEATURES,
    Source,
    SourceReader,
    sources_of,
)
from orchestai_jax.planner.arguments.slots import SLOT_FEATURES, Slot, slot_features, slots_of
from orchestai_jax.planner.arguments.span_features import SHAPE_FEATURES, shape_features
from orchestai_jax.planner.arguments.spans import MAX_SPANS, SpannedText, read_spans
from orchestai_jax.planner.arguments.word_vectors import WordVectors
from orchestai_jax.workflow.catalog import TaskType

MAX_SOURCES = 32
"""Outputs of earlier tasks that a parameter may take; the latest where there are more."""
_MAX_EXAMPLES = 12

SPAN_FEATURES = SHAPE_FEATURES + PAIR_FEATURES
QUERY_FEATURES = SLOT_FEATURES + POINTING_FEATURES + 1


@struct.dataclass
class Queries:
    """A batch of parameters to fill."""

    spans: Float[Array | np.ndarray, "Q C Fs"]
    span_mask: Bool[Array | np.ndarray, "Q C"]
    """Which spans may stand in the parameter at all."""
    sources: Float[Array | np.ndarray, "Q R Fr"]
    source_mask: Bool[Array | np.ndarray, "Q R"]
    slots: Float[Array | np.ndarray, "Q Fq"]


@dataclasses.dataclass(frozen=True)
class ReadInstruction:
    """An instruction, the parameters of its tasks, and what may fill each."""

    spanned: SpannedText
    slots: tuple[Slot, ...]
    values: tuple[tuple[Any, ...], ...]
    """For each slot and span the literal, None where the span does not fit the slot."""
    sources: tuple[tuple[Source, ...], ...]
    """For each slot the outputs that may fill it."""
    shapes: Float[np.ndarray, "C Fs"]
    pairs: Float[np.ndarray, "K C Fp"]
    references: tuple[Float[np.ndarray, "R Fr"], ...]
    queries: Float[np.ndarray, "K Fq"]


def read_instruction(
    text: str,
    types: Sequence[TaskType],
    alignment: Alignment,
    ruled: Sequence[dict[str, Any]],
    vectors: WordVectors,
) -> ReadInstruction | None:
    """Read a cleaned instruction for the parameters of tasks of some types, in order.

    `alignment`: of the text as it was before cleaning, which moves nothing. `ruled`: the literals that the rules give
    each task. None where there is nothing to fill, or nothing said.
    """
    slots = slots_of(types)
    spanned = read_spans(text)
    if not slots or not spanned.spans:
        return None
    found = Vectors(
        spans=vectors.stretches(text, [(s.start, s.end) for s in spanned.spans]),
        slots=np.stack([vectors.of(slot.words.text) for slot in slots]),
        examples=np.stack([vectors.mean_of(slot.words.examples[:_MAX_EXAMPLES]) for slot in slots]),
        sentences=vectors.stretches(text, spanned.sentence_bounds),
        tasks=np.stack([vectors.of(t.text) for t in types]),
    )
    given = [ruled[slot.task].get(slot.parameter.name) for slot in slots]
    reader = SourceReader(text, types, alignment)
    sources, references = [], []
    for k, slot in enumerate(slots):
        mine = sources_of(slot, types)[-MAX_SOURCES:]
        texts = [types[s.task].outputs[s.output] for s in mine]
        likeness = [float(found.slots[k] @ vectors.of(f"{o.name.replace('_', ' ')}: {o.description}")) for o in texts]
        sources.append(tuple(mine))
        references.append(reader.features(slot, mine, np.array(likeness, np.float32)))
    return ReadInstruction(
        spanned=spanned,
        slots=tuple(slots),
        values=_values(slots, spanned),
        sources=tuple(sources),
        shapes=shape_features(spanned),
        pairs=PairReader(spanned, slots, alignment, found, given).features(),
        references=tuple(references),
        queries=np.stack(
            [
                np.array([*slot_features(slot, len(types)), *reader.of_slot(slot), value is not None], np.float32)
                for slot, value in zip(slots, given, strict=True)
            ]
        ),
    )


def _values(slots: Sequence[Slot], spanned: SpannedText) -> tuple[tuple[Any, ...], ...]:
    """The literals, worked out once for each type and enumeration."""
    known: dict[tuple[str, str], tuple[Any, ...]] = {}
    for slot in slots:
        key = slot.parameter.type, repr(slot.parameter.enum)
        if key not in known:
            known[key] = tuple(value_for(slot.parameter, s) for s in spanned.spans)
    return tuple(known[slot.parameter.type, repr(slot.parameter.enum)] for slot in slots)


def lay_out(read_slots: Sequence[tuple[ReadInstruction, int]], rows: int, columns: int = MAX_SPANS) -> Queries:
    """Queries of (instruction, slot) pairs, padded to so many rows; the rows that fill up have nothing to choose.

    `columns`: room for spans; no instruction may have more.
    """
    queries = Queries(
        spans=np.zeros((rows, columns, SPAN_FEATURES), np.float32),
        span_mask=np.zeros((rows, columns), bool),
        sources=np.zeros((rows, MAX_SOURCES, REFERENCE_FEATURES), np.float32),
        source_mask=np.zeros((rows, MAX_SOURCES), bool),
        slots=np.zeros((rows, QUERY_FEATURES), np.float32),
    )
    for row, (instruction, k) in enumerate(read_slots):
        count, sources = len(instruction.spanned.spans), len(instruction.sources[k])
        queries.spans[row, :count, :SHAPE_FEATURES] = instruction.shapes
        queries.spans[row, :count, SHAPE_FEATURES:] = instruction.pairs[k]
        queries.span_mask[row, :count] = [v is not None for v in instruction.values[k]]
        queries.sources[row, :sources] = instruction.references[k]
        queries.source_mask[row, :sources] = True
        queries.slots[row] = instruction.queries[k]
    return queries
