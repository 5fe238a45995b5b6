"""Evaluation of a planner over a data file: figures with intervals, latency, and the predictions themselves."""

from __future__ import annotations

import dataclasses
import json
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from orchestai_jax.config import Preference
from orchestai_jax.data.sample import PlanningSample
from orchestai_jax.evaluation.arguments import CallArguments, value_counts, workflow_calls
from orchestai_jax.evaluation.bootstrap import bootstrap_interval
from orchestai_jax.evaluation.confidence import abstention_curve, calibration_error
from orchestai_jax.evaluation.planning import (
    FIGURES,
    PlanningScores,
    PredictedPlan,
    chain_links,
    pooled_f1,
    predicted_plan,
    reference_counts,
    score_plans,
)
from orchestai_jax.workflow import Catalog, Workflow

if TYPE_CHECKING:
    from rich.table import Table

logger = logging.getLogger(__name__)

MAX_TIMED = 500
"""Plans that are timed at most; from a longer file, evenly spaced ones."""

_LABELS = {
    "node_f1": "node F1",
    "link_f1": "link F1",
    "accuracy": "accuracy",
    "coverage": "coverage",
    "dag_validity": "DAG validity",
    "selection_accuracy": "worker choice",
    "reference_f1": "reference F1 (pooled)",
    "value_f1": "value F1 of arguments (pooled)",
    "chain_baseline_link_f1": "link F1, predicted tasks joined in order",
    "chain_baseline_reference_f1": "reference F1, predicted tasks joined in order",
}


class PlansInstructions(Protocol):
    """What the evaluation needs of a planner."""

    @property
    def catalog(self) -> Catalog:
        """The catalog it was trained with."""
        ...

    def plan(self, text: str, catalog: Catalog | None = None, preference: Preference | None = None) -> Workflow:
        """Plan one instruction; a ValueError says why there is no plan."""
        ...


@dataclasses.dataclass(frozen=True)
class PlanningReport:
    """Figures of one planner over one list of samples."""

    scores: PlanningScores
    chain_link_f1: NDArray[np.float64]
    """[samples]: link F1 had the predicted tasks been joined in order."""
    references: NDArray[np.float64]
    """[samples, 3]: counts behind the pooled reference F1."""
    chain_references: NDArray[np.float64]
    """[samples, 3]: the same had the predicted tasks been joined in order."""
    values: NDArray[np.float64] | None
    """[samples, 3]: counts behind the pooled value F1; None where no sample has gold arguments."""
    latencies_ms: NDArray[np.float64]
    """[timed samples]: time of one plan, alone, after every shape was compiled."""
    plan_confidences: NDArray[np.float64]
    """[samples]: the plans' confidences, 0 where there is no plan; whether they are right is `scores.accuracy`."""
    task_confidences: NDArray[np.float64]
    """[tasks, 2]: confidence of every planned task that has one, and 1 where its task type is among the gold ones."""
    failures: tuple[tuple[str, str], ...] = ()
    """(sample id, reason) of each instruction for which the planner gave no plan."""

    def as_dict(self) -> dict[str, Any]:
        """Plain figures for JSON; `intervals` holds 95 % bootstrap intervals over samples."""
        return {
            **self.scores.as_dict(),
            "latency_ms_p50": float(np.percentile(self.latencies_ms, 50)),
            "latency_ms_p95": float(np.percentile(self.latencies_ms, 95)),
            "reference_f1": float(pooled_f1(self.references.sum(axis=0))),
            "value_f1": None if self.values is None else float(pooled_f1(self.values.sum(axis=0))),
            "chain_baseline_link_f1": float(self.chain_link_f1.mean()),
            "chain_baseline_reference_f1": float(pooled_f1(self.chain_references.sum(axis=0))),
            "failures": len(self.failures),
            "calibration": self.calibration(),
            "abstention": abstention_curve(self.plan_confidences, self.scores.accuracy > 0),
            "intervals": {name: list(interval) for name, interval in self.intervals().items()},
        }

    def calibration(self) -> dict[str, dict[str, float]]:
        """`calibration_error` of plans (is the set of task types right?) and, where they have confidences, of tasks."""
        found = {"plan": calibration_error(self.plan_confidences, self.scores.accuracy > 0)}
        if len(self.task_confidences):
            found["task"] = calibration_error(self.task_confidences[:, 0], self.task_confidences[:, 1] > 0)
        return found

    def intervals(self) -> dict[str, tuple[float, float]]:
        """95 % bootstrap intervals over samples, by figure."""
        found = {name: bootstrap_interval(getattr(self.scores, name)) for name in FIGURES}
        if self.scores.selection_accuracy is not None:
            found["selection_accuracy"] = bootstrap_interval(self.scores.selection_counts, statistic=_share)
        found["reference_f1"] = bootstrap_interval(self.references, statistic=pooled_f1)
        if self.values is not None:
            found["value_f1"] = bootstrap_interval(self.values, statistic=pooled_f1)
        found["chain_baseline_link_f1"] = bootstrap_interval(self.chain_link_f1)
        found["chain_baseline_reference_f1"] = bootstrap_interval(self.chain_references, statistic=pooled_f1)
        return found

    def table(self, title: str = "Planning") -> Table:
        """The report as a table, for a rich console."""
        from rich.table import Table

        figures = self.as_dict()
        table = Table(title=f"{title} ({self.scores.n} samples)")
        table.add_column("figure")
        table.add_column("value", justify="right")
        table.add_column("95 % interval", justify="right")
        for name, label in _LABELS.items():
            if figures[name] is None:
                continue
            low, high = figures["intervals"][name]
            table.add_row(label, f"{figures[name]:.3f}", f"{low:.3f} - {high:.3f}")
        for part, errors in figures["calibration"].items():
            table.add_row(
                f"calibration error, {part}s (debiased)", f"{errors['ece']:.3f} ({errors['ece_debiased']:.3f})"
            )
        half = min(figures["abstention"], key=lambda point: abs(point["coverage"] - 0.5))
        table.add_row(f"accuracy of the surest {half['coverage']:.0%}", f"{half['accuracy']:.3f}")
        table.add_row("latency p50", f"{figures['latency_ms_p50']:.1f} ms", "")
        table.add_row("latency p95", f"{figures['latency_ms_p95']:.1f} ms", "")
        if self.failures:
            table.add_row("instructions without a plan", str(len(self.failures)), "")
        return table


def evaluate_planner(
    planner: PlansInstructions,
    samples: Sequence[PlanningSample],
    catalog: Catalog | None = None,
    predictions: Path | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> PlanningReport:
    """Plan every sample's instruction alone, score the plans and time the planner.

    Every sample is planned once for the scores, which compiles every bucket that occurs; then up to `MAX_TIMED` of them
    are planned again and timed. A sample's own preference, where it has one, is handed to the planner. A ValueError of
    the planner counts as a missing plan and its reason is kept; any other exception is a fault and is raised.

    Args:
        planner: The planner.
        samples: Instructions with gold plans; at least one.
        catalog: To plan over, where it is not the planner's own.
        predictions: File that gets one JSON line a sample:
            `{id, task_nodes: [{task}], task_links: [{source, target}], workers, confidence, valid}`, and `error` where
            there is no plan. Links name task types; their positions are in `dependencies`.
        clock: Seconds, for the latency.

    Raises:
        ValueError: when there are no samples.
    """
    if not samples:
        raise ValueError("there are no samples to evaluate on; check the data file and its format")
    used = catalog if catalog is not None else planner.catalog
    plans: list[PredictedPlan | None] = []
    rows: list[dict[str, Any]] = []
    failures: list[tuple[str, str]] = []
    filled: list[list[CallArguments]] = []
    plan_confidences: list[float] = []
    task_confidences: list[tuple[float, bool]] = []
    for sample in samples:
        try:
            workflow = _plan(planner, sample, catalog)
        except ValueError as error:
            logger.warning("no plan for sample %s: %s", sample.id, error)
            failures.append((sample.id, str(error)))
            plans.append(None)
            filled.append([])
            plan_confidences.append(0.0)
            rows.append(_prediction_row(sample.id, None, None, str(error)))
            continue
        plan = predicted_plan(workflow, used)
        plans.append(plan)
        filled.append(workflow_calls(workflow))
        plan_confidences.append(workflow.confidence or 0.0)
        task_confidences += [
            (t.confidence, t.task_type in sample.nodes) for t in workflow.tasks if t.confidence is not None
        ]
        rows.append(_prediction_row(sample.id, plan, workflow.confidence, None))
    if predictions is not None:
        predictions.parent.mkdir(parents=True, exist_ok=True)
        predictions.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    chains = [dataclasses.replace(p, dependencies=chain_links(p.task_types)) if p is not None else None for p in plans]
    return PlanningReport(
        scores=score_plans(samples, plans, used.choices),
        chain_link_f1=score_plans(samples, chains).link_f1,
        references=reference_counts(samples, plans),
        chain_references=reference_counts(samples, chains),
        values=value_counts(samples, filled) if any(s.arguments is not None for s in samples) else None,
        latencies_ms=_latencies_ms(planner, samples, catalog, clock),
        plan_confidences=np.array(plan_confidences),
        task_confidences=np.array(task_confidences, np.float64).reshape(-1, 2),
        failures=tuple(failures),
    )


def _plan(planner: PlansInstructions, sample: PlanningSample, catalog: Catalog | None) -> Workflow:
    preference = None
    if sample.preference is not None:
        success, cost, latency = sample.preference
        preference = Preference(success=success, cost=cost, latency=latency)
    return planner.plan(sample.instruction, catalog=catalog, preference=preference)


def _latencies_ms(
    planner: PlansInstructions,
    samples: Sequence[PlanningSample],
    catalog: Catalog | None,
    clock: Callable[[], float],
) -> NDArray[np.float64]:
    chosen = np.unique(np.linspace(0, len(samples) - 1, num=min(MAX_TIMED, len(samples))).round().astype(int))
    times = np.empty(len(chosen))
    for i, position in enumerate(chosen):
        started = clock()
        try:
            _plan(planner, samples[position], catalog)
        except ValueError as error:  # counted and logged in the first pass; a refusal takes time too
            logger.debug("no plan for sample %s: %s", samples[position].id, error)
        times[i] = 1000 * (clock() - started)
    return times


def _prediction_row(
    sample_id: str, plan: PredictedPlan | None, confidence: float | None, error: str | None
) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": sample_id,
        "task_nodes": [{"task": t} for t in plan.task_types] if plan else [],
        "task_links": (
            [{"source": plan.task_types[s], "target": plan.task_types[t]} for s, t in plan.dependencies] if plan else []
        ),
        "dependencies": [list(d) for d in plan.dependencies] if plan else [],
        "workers": list(plan.workers) if plan and plan.workers is not None else None,
        "confidence": confidence,
        "valid": plan is not None and plan.valid,
    }
    if error is not None:
        row["error"] = error
    return row


def _share(means: NDArray[np.float64]) -> NDArray[np.float64]:
    seen, right = means[..., 0], means[..., 1]
    return np.where(seen > 0, right / np.where(seen > 0, seen, 1), 0.0)
