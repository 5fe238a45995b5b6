"""Scores of arguments: values and references of calls, pooled over samples."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from orchestai_jax.data.argument_values import normal_form
from orchestai_jax.data.sample import PlanningSample
from orchestai_jax.evaluation.bootstrap import bootstrap_interval
from orchestai_jax.evaluation.planning import Call, PredictedPlan, calls, chain_links, pooled_f1, reference_counts
from orchestai_jax.workflow import Argument, Catalog, Reference, Value, Workflow

CallArguments = tuple[str, Mapping[str, Argument]]
"""A call: its task type and its arguments by name."""


class FillsGivenTasks(Protocol):
    """What the evaluation of arguments needs of a planner."""

    def arguments(
        self, text: str, task_types: Sequence[str], catalog: Catalog | None = None
    ) -> tuple[Mapping[str, Argument], ...]:
        """The arguments of given tasks."""
        ...


@dataclasses.dataclass(frozen=True)
class ArgumentScores:
    """Counts a sample of arguments in both, predicted, in gold."""

    values: NDArray[np.float64]
    """[samples, 3]: (call, parameter, value) triples, values equal by `normal_form`; references are left out."""
    references: NDArray[np.float64]
    """[samples, 3]: (producing call, consuming call) pairs."""
    chain: NDArray[np.float64]
    """[samples, 3]: the same, had each call taken something of the one before."""

    def as_dict(self) -> dict[str, Any]:
        """Precision, recall and F1 of values and references, the chain's F1, and 95 % bootstrap intervals of F1."""
        found: dict[str, Any] = {"n": len(self.values), "intervals": {}}
        for name, counts in (("value", self.values), ("reference", self.references)):
            both, predicted, gold = counts.sum(axis=0)
            found[f"{name}_precision"] = float(both / predicted) if predicted else 1.0
            found[f"{name}_recall"] = float(both / gold) if gold else 1.0
            found[f"{name}_f1"] = float(pooled_f1(counts.sum(axis=0)))
            found[f"num_{name}s"] = int(gold)
            found["intervals"][f"{name}_f1"] = list(bootstrap_interval(counts, statistic=pooled_f1))
        found["chain_reference_f1"] = float(pooled_f1(self.chain.sum(axis=0)))
        return found


def value_counts(samples: Sequence[PlanningSample], plans: Sequence[Sequence[CallArguments]]) -> NDArray[np.float64]:
    """Counts behind the value F1, [samples, 3]: triples in both, predicted, in gold.

    A call is its task type and its place among the calls of that type. A sample without gold arguments counts nothing.

    Raises:
        ValueError: when there is not one plan a sample.
    """
    if len(samples) != len(plans):
        raise ValueError(f"{len(plans)} plans for {len(samples)} samples; give one a sample")
    counts = np.zeros((len(samples), 3))
    for i, (sample, plan) in enumerate(zip(samples, plans, strict=True)):
        if sample.arguments is None:
            continue
        gold = _gold_values(sample)
        predicted = _predicted_values(plan)
        counts[i] = len(gold & predicted), len(predicted), len(gold)
    return counts


def workflow_calls(workflow: Workflow) -> list[CallArguments]:
    """The calls of a workflow, in order."""
    return [(task.task_type, task.arguments) for task in workflow.tasks]


def score_arguments(
    samples: Sequence[PlanningSample], filled: Sequence[Sequence[Mapping[str, Argument]]]
) -> ArgumentScores:
    """Score arguments that were filled for the gold tasks of each sample; references name the tasks `t1`, `t2` …

    Raises:
        ValueError: when there are no samples, or not one list of arguments a sample.
    """
    plans = [list(zip(s.task_types, a, strict=True)) for s, a in zip(samples, filled, strict=True)]
    joined = [PredictedPlan(s.task_types, _edges(arguments)) for s, arguments in zip(samples, filled, strict=True)]
    chained = [PredictedPlan(s.task_types, chain_links(s.task_types)) for s in samples]
    return ArgumentScores(
        values=value_counts(samples, plans),
        references=reference_counts(samples, joined),
        chain=reference_counts(samples, chained),
    )


def evaluate_arguments(
    planner: FillsGivenTasks, samples: Sequence[PlanningSample], catalog: Catalog | None = None
) -> ArgumentScores:
    """Let a planner fill the arguments of each sample's gold tasks, and score them. Raises like `score_arguments`."""
    return score_arguments(samples, [planner.arguments(s.instruction, s.task_types, catalog) for s in samples])


def _edges(arguments: Sequence[Mapping[str, Argument]]) -> tuple[tuple[int, int], ...]:
    pairs = {
        (int(a.task[1:]) - 1, j)
        for j, given in enumerate(arguments)
        for a in given.values()
        if isinstance(a, Reference)
    }
    return tuple(sorted(pairs))


def _gold_values(sample: PlanningSample) -> set[tuple[Call, str, Any]]:
    return {
        (call, name, normal_form(argument["value"]))
        for call, given in zip(calls(sample.task_types), sample.arguments or (), strict=True)
        for name, argument in given.items()
        if "value" in argument
    }


def _predicted_values(plan: Sequence[CallArguments]) -> set[tuple[Call, str, Any]]:
    return {
        (call, name, normal_form(argument.value))
        for call, (_, given) in zip(calls(t for t, _ in plan), plan, strict=True)
        for name, argument in given.items()
        if isinstance(argument, Value)
    }
