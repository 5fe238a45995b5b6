"""How well workers are chosen, beside what choosing without thought would give."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Sequence
from typing import Any

from orchestai_jax.config import Preference
from orchestai_jax.data import PlanningSample
from orchestai_jax.quickstart.worker_outcomes import WorkerOutcomes, cheapest_worker, highest_quality_worker, utilities
from orchestai_jax.workflow import Workflow


@dataclasses.dataclass(frozen=True)
class ChoiceScore:
    """One way to choose, over the tasks that have a choice."""

    accuracy: float
    """Share of tasks given the worker that is best under the instruction's preference."""
    regret: float
    """Mean of how much utility the chosen worker has less than the best one."""

    def as_dict(self) -> dict[str, float]:
        """Both figures."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class ChoiceReport:
    """The planner's choices and three trivial ones, on the same tasks.

    Counted are gold tasks with two workers or more whose task type the planner planned; `not_planned` are left out.
    """

    planner: ChoiceScore
    always_cheapest: ChoiceScore
    always_best: ChoiceScore
    """Always the worker of the highest measured quality."""
    random: ChoiceScore
    """The expectation of an even choice."""
    tasks: int
    not_planned: int

    def as_dict(self) -> dict[str, Any]:
        """Plain figures for JSON."""
        return {
            name: value.as_dict() if isinstance(value, ChoiceScore) else value for name, value in vars(self).items()
        }


def score_worker_choice(
    samples: Sequence[PlanningSample], plans: Sequence[Workflow], outcomes: WorkerOutcomes
) -> ChoiceReport | None:
    """Compare the planner's workers with the best ones under each sample's preference.

    None where no task with a choice was planned. Raises ValueError where there is not one plan a sample.
    """
    cases: list[tuple[str, Preference, str | None]] = []
    not_planned = 0
    choices = set(outcomes.choices)
    for sample, plan in zip(samples, plans, strict=True):
        chosen = {task.task_type: task.worker for task in plan.tasks}
        success, cost, latency = sample.preference or Preference().weights
        preference = Preference(success=success, cost=cost, latency=latency)
        for task_type in sorted(sample.nodes & choices):
            if task_type in chosen:
                cases.append((task_type, preference, chosen[task_type]))
            else:
                not_planned += 1
    if not cases:
        return None

    def score(choose: Callable[[str, str | None], str | None]) -> ChoiceScore:
        rows = []
        for task_type, preference, planned in cases:
            gains = utilities(outcomes, task_type, preference)
            worker = choose(task_type, planned)
            best = max(gains, key=lambda w: gains[w])  # the first among equals, as the labels are
            lost = gains[best] - gains[worker] if worker in gains else gains[best] - min(gains.values())
            rows.append((worker == best, lost))
        return ChoiceScore(statistics.fmean(float(right) for right, _ in rows), statistics.fmean(r for _, r in rows))

    expected = []
    for task_type, preference, _ in cases:
        gains = list(utilities(outcomes, task_type, preference).values())
        expected.append((1 / len(gains), max(gains) - statistics.fmean(gains)))
    return ChoiceReport(
        planner=score(lambda _, planned: planned),
        always_cheapest=score(lambda task_type, _: cheapest_worker(outcomes, task_type)),
        always_best=score(lambda task_type, _: highest_quality_worker(outcomes, task_type)),
        random=ChoiceScore(*(statistics.fmean(column) for column in zip(*expected, strict=True))),
        tasks=len(cases),
        not_planned=not_planned,
    )
