"""Scores of plans against gold plans: nodes, links, accuracy, coverage, validity, choice of workers."""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet

import numpy as np
from numpy.typing import NDArray

from orchestai_jax.data.sample import PlanningSample
from orchestai_jax.workflow import Catalog, Workflow, validate_workflow

Call = tuple[str, int]
"""A call inside a plan: its task type and which call of that type it is, from 0."""

FIGURES = ("node_f1", "link_f1", "accuracy", "coverage", "dag_validity")
"""The figures that have one value a sample."""


@dataclasses.dataclass(frozen=True, slots=True)
class PredictedPlan:
    """A plan as far as it is scored: what would be done, in which order, by whom, and whether it would run.

    `dependencies` holds (producer, consumer) positions in `task_types`; `workers`, where present, one entry a task.
    """

    task_types: tuple[str, ...]
    dependencies: tuple[tuple[int, int], ...] = ()
    workers: tuple[str | None, ...] | None = None
    valid: bool = True

    def __post_init__(self) -> None:
        n = len(self.task_types)
        if self.workers is not None and len(self.workers) != n:
            raise ValueError(f"workers has {len(self.workers)} entries for {n} tasks; give one a task, or None for all")
        for source, target in self.dependencies:
            if not (0 <= source < n and 0 <= target < n):
                raise ValueError(f"dependency ({source}, {target}) is outside the plan's {n} tasks, numbered from 0")

    @property
    def nodes(self) -> frozenset[str]:
        """The set of task types."""
        return frozenset(self.task_types)

    @property
    def links(self) -> frozenset[tuple[str, str]]:
        """The set of (source task type, target task type)."""
        return frozenset((self.task_types[s], self.task_types[t]) for s, t in self.dependencies)


_EMPTY = PredictedPlan((), valid=False)


@dataclasses.dataclass(frozen=True)
class PlanningScores:
    """Scores of one plan a sample. Every array has shape [samples] and values in [0, 1]."""

    node_f1: NDArray[np.float64]
    """F1 of the set of task types."""
    link_f1: NDArray[np.float64]
    """F1 of the set of (source, target) pairs of task types."""
    accuracy: NDArray[np.float64]
    """1 where the set of task types is exactly the gold one."""
    coverage: NDArray[np.float64]
    """1 where there is a valid plan with at least one task."""
    dag_validity: NDArray[np.float64]
    """1 where there is a plan and its dependencies hold no cycle, whatever else may be wrong with it."""
    selection_counts: NDArray[np.float64]
    """[samples, 2]: gold worker labels that count, of tasks that were predicted, and how many were matched."""
    selection_labels: int
    """Gold worker labels that count."""

    @property
    def n(self) -> int:
        """How many samples were scored."""
        return len(self.node_f1)

    @functools.cached_property
    def means(self) -> dict[str, float]:
        """The mean over samples of each figure of `FIGURES`."""
        return {name: float(np.mean(getattr(self, name))) for name in FIGURES}

    @functools.cached_property
    def selection_accuracy(self) -> float | None:
        """Share of gold worker labels matched, among gold tasks that were predicted.

        None when the data has no worker labels; 0 when it has, and none of their tasks was predicted.
        """
        if not self.selection_labels:
            return None
        seen, right = self.selection_counts.sum(axis=0)
        return float(right / seen) if seen else 0.0

    def as_dict(self) -> dict[str, float | int | None]:
        """The means, the selection accuracy and n: what JSON results hold."""
        return {**self.means, "selection_accuracy": self.selection_accuracy, "n": self.n}


def score_plans(
    samples: Sequence[PlanningSample],
    plans: Sequence[PredictedPlan | None],
    choices: Collection[str] | None = None,
) -> PlanningScores:
    """Score plans against gold plans, one a sample and in the same order.

    A missing (None) or invalid plan, or one whose dependencies hold a cycle, counts as empty for nodes and links.
    `choices` are the task types that several workers can do: gold workers of other tasks, which nobody can get wrong,
    are not counted (None = all are).

    Raises:
        ValueError: when there are no samples, or not one plan a sample.
    """
    _check_lengths(samples, plans)
    rows = np.empty((len(samples), len(FIGURES)))
    selection = np.zeros((len(samples), 2))
    labels = 0
    for i, (sample, given) in enumerate(zip(samples, plans, strict=True)):
        acyclic = given is not None and is_acyclic(len(given.task_types), given.dependencies)
        plan = given if given is not None and given.valid and acyclic else _EMPTY
        node_f1 = set_f1(plan.nodes, sample.nodes)
        rows[i] = (
            node_f1,
            set_f1(plan.links, sample.links),
            plan.nodes == sample.nodes,
            bool(plan.task_types),
            acyclic,
        )
        gold = _worker_labels(sample, choices)
        labels += len(gold)
        selection[i] = _selection_counts(gold, plan)
    return PlanningScores(
        **{name: rows[:, column] for column, name in enumerate(FIGURES)},
        selection_counts=selection,
        selection_labels=labels,
    )


def set_f1(predicted: AbstractSet[object], gold: AbstractSet[object]) -> float:
    """F1 of one set against another: 1 when both are empty, 0 when only one is."""
    total = len(predicted) + len(gold)
    return 2 * len(predicted & gold) / total if total else 1.0


def reference_counts(samples: Sequence[PlanningSample], plans: Sequence[PredictedPlan | None]) -> NDArray[np.float64]:
    """Counts behind `reference_f1`, [samples, 3]: pairs in both, pairs predicted, pairs in gold.

    Raises:
        ValueError: when there are no samples, or not one plan a sample.
    """
    _check_lengths(samples, plans)
    counts = np.empty((len(samples), 3))
    for i, (sample, given) in enumerate(zip(samples, plans, strict=True)):
        usable = given is not None and given.valid and is_acyclic(len(given.task_types), given.dependencies)
        plan = given if given is not None and usable else _EMPTY
        predicted = _call_pairs(plan.task_types, plan.dependencies)
        gold = _call_pairs(sample.task_types, sample.dependencies)
        counts[i] = len(predicted & gold), len(predicted), len(gold)
    return counts


def pooled_f1(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """F1 from sums or means of counts, [..., 3]: in both, predicted, gold. 1 where nothing is predicted nor gold."""
    both, predicted, gold = np.moveaxis(np.asarray(counts, dtype=np.float64), -1, 0)
    total = predicted + gold
    return np.where(total > 0, 2 * both / np.where(total > 0, total, 1), 1.0)


def reference_f1(samples: Sequence[PlanningSample], plans: Sequence[PredictedPlan | None]) -> float:
    """F1 of the pairs (producing call, consuming call), pooled over all samples.

    A call is its task type and its place among the calls of that type, so two calls of one type are told apart.

    Raises:
        ValueError: when there are no samples, or not one plan a sample.
    """
    return float(pooled_f1(reference_counts(samples, plans).sum(axis=0)))


def chain_links(task_types: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """The chain baseline: each task depends on the one before it."""
    return tuple((i, i + 1) for i in range(len(task_types) - 1))


def predicted_plan(workflow: Workflow, catalog: Catalog) -> PredictedPlan:
    """What of a workflow is scored. `valid` is whether `validate_workflow` finds nothing wrong with it.

    A required argument that is left open is no fault here: arguments are scored apart from plans. Entries of
    `depends_on` that name no task are left out (the plan is not valid then).
    """
    position: dict[str, int] = {}
    for i, task in enumerate(workflow.tasks):
        position.setdefault(task.id, i)
    edges = [
        (position[source], i)
        for i, task in enumerate(workflow.tasks)
        for source in dict.fromkeys(task.depends_on)
        if source in position
    ]
    return PredictedPlan(
        task_types=tuple(task.task_type for task in workflow.tasks),
        dependencies=tuple(edges),
        workers=tuple(task.worker for task in workflow.tasks),
        valid=not validate_workflow(workflow, catalog, require_arguments=False),
    )


def is_acyclic(n: int, dependencies: Collection[tuple[int, int]]) -> bool:
    """Whether `n` nodes with (source, target) edges hold no cycle (Kahn, 1962)."""
    targets: dict[int, list[int]] = {}
    waiting = [0] * n
    for source, target in set(dependencies):
        targets.setdefault(source, []).append(target)
        waiting[target] += 1
    ready = [i for i in range(n) if not waiting[i]]
    done = 0
    while ready:
        done += 1
        for target in targets.get(ready.pop(), ()):
            waiting[target] -= 1
            if not waiting[target]:
                ready.append(target)
    return done == n


def calls(task_types: Iterable[str]) -> tuple[Call, ...]:
    """Tell calls of one task type apart: `(a, b, a)` → `((a, 0), (b, 0), (a, 1))`."""
    seen: Counter[str] = Counter()
    result = []
    for task_type in task_types:
        result.append((task_type, seen[task_type]))
        seen[task_type] += 1
    return tuple(result)


def _call_pairs(task_types: Sequence[str], dependencies: Iterable[tuple[int, int]]) -> set[tuple[Call, Call]]:
    named = calls(task_types)
    return {(named[source], named[target]) for source, target in dependencies}


def _worker_labels(sample: PlanningSample, choices: Collection[str] | None) -> dict[Call, str]:
    labels = zip(calls(sample.task_types), sample.workers or (), strict=sample.workers is not None)
    return {call: w for call, w in labels if w is not None and (choices is None or call[0] in choices)}


def _selection_counts(gold: Mapping[Call, str], plan: PredictedPlan) -> tuple[int, int]:
    chosen = dict(zip(calls(plan.task_types), plan.workers or (None,) * len(plan.task_types), strict=True))
    predicted = [call for call in gold if call in chosen]
    return len(predicted), sum(chosen[call] == gold[call] for call in predicted)


def _check_lengths(samples: Sequence[PlanningSample], plans: Sequence[PredictedPlan | None]) -> None:
    if not samples:
        raise ValueError("there are no samples to score; check the data file and its format")
    if len(samples) != len(plans):
        raise ValueError(f"{len(plans)} plans for {len(samples)} samples; give one a sample, None where there is none")
