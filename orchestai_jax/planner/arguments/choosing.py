"""From probabilities to arguments: one alternative a parameter, no words used twice within a task."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Float

from orchestai_jax.data.argument_values import normal_form
from orchestai_jax.planner.arguments.queries import ReadInstruction
from orchestai_jax.planner.arguments.reference_features import Source
from orchestai_jax.planner.arguments.spans import MAX_SPANS


@dataclasses.dataclass(frozen=True, slots=True)
class Choice:
    """What fills a slot: a literal that the instruction says, or an earlier output (then `value` is None)."""

    slot: int
    value: Any
    source: Source | None
    probability: float
    words: tuple[int, int] | None
    """The literal's words (first, last)."""


def choose(
    instruction: ReadInstruction,
    probabilities: Float[np.ndarray, "K choices"],
    value_threshold: float,
    reference_threshold: float,
) -> list[Choice]:
    """The likeliest alternatives over their thresholds, the surest first: at most one a slot.

    A value that is said more than once has the sum of its places' probabilities, an earlier task that of its outputs.
    Two parameters of one task never share words.
    """
    options = [
        option
        for k in range(len(instruction.slots))
        for option in (*_values(instruction, k, probabilities[k]), *_sources(instruction, k, probabilities[k]))
        if option.probability >= (reference_threshold if option.source is not None else value_threshold)
    ]
    options.sort(key=lambda o: -o.probability)  # stable: between equals the earlier slot and word
    taken: dict[int, Choice] = {}
    used: dict[int, list[tuple[int, int]]] = {}
    for option in options:
        places = used.setdefault(instruction.slots[option.slot].task, [])
        if option.slot in taken or (option.words is not None and any(_meet(option.words, p) for p in places)):
            continue
        taken[option.slot] = option
        if option.words is not None:
            places.append(option.words)
    return list(taken.values())


def _values(instruction: ReadInstruction, k: int, row: Float[np.ndarray, "choices"]) -> list[Choice]:
    best: dict[Any, int] = {}
    total: dict[Any, float] = {}
    spans = instruction.spanned.spans
    for i in np.flatnonzero(row[: len(spans)] > 1e-4).tolist():
        value = instruction.values[k][i]
        if value is None:
            continue
        key = normal_form(value)
        total[key] = total.get(key, 0.0) + float(row[i])
        if key not in best or row[i] > row[best[key]]:
            best[key] = i
    return [
        Choice(k, instruction.values[k][i], None, total[key], (spans[i].first, spans[i].last))
        for key, i in best.items()
    ]


def _sources(instruction: ReadInstruction, k: int, row: Float[np.ndarray, "choices"]) -> list[Choice]:
    best: dict[int, int] = {}
    total: dict[int, float] = {}
    for i, source in enumerate(instruction.sources[k]):
        probability = float(row[MAX_SPANS + i])
        total[source.task] = total.get(source.task, 0.0) + probability
        if source.task not in best or probability > row[MAX_SPANS + best[source.task]]:
            best[source.task] = i
    return [Choice(k, None, instruction.sources[k][i], total[task], None) for task, i in best.items()]


def _meet(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one[0] <= other[1] and other[0] <= one[1]
