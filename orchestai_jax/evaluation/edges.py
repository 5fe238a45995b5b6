"""Edges given the gold tasks: what the graph generator is worth alone, beside the chain baseline."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from orchestai_jax.data.sample import PlanningSample
from orchestai_jax.evaluation.bootstrap import bootstrap_interval
from orchestai_jax.evaluation.planning import PredictedPlan, chain_links, pooled_f1, reference_counts, score_plans
from orchestai_jax.workflow import Catalog

if TYPE_CHECKING:
    from rich.table import Table


class GraphPlanner(Protocol):
    """What the evaluation of edges needs of a planner."""

    def graph(
        self, text: str, task_types: Sequence[str], catalog: Catalog | None = None
    ) -> tuple[tuple[int, int], ...]:
        """The (producer, consumer) positions among given tasks."""
        ...


@dataclasses.dataclass(frozen=True)
class EdgeScores:
    """Scores of predicted edges over given tasks."""

    link_f1: NDArray[np.float64]
    """[samples]: F1 of the set of (source, target) pairs of task types."""
    reference_counts: NDArray[np.float64]
    """[samples, 3]: pairs of calls in both, predicted, in gold."""

    @property
    def reference_f1(self) -> float:
        """F1 of the pairs of calls, pooled over all samples."""
        return float(pooled_f1(self.reference_counts.sum(axis=0)))

    def as_dict(self) -> dict[str, Any]:
        """Both figures with their 95 % bootstrap intervals over samples."""
        return {
            "link_f1": float(self.link_f1.mean()),
            "reference_f1": self.reference_f1,
            "intervals": {
                "link_f1": list(bootstrap_interval(self.link_f1)),
                "reference_f1": list(bootstrap_interval(self.reference_counts, statistic=pooled_f1)),
            },
        }


@dataclasses.dataclass(frozen=True)
class EdgeReport:
    """The graph generator and the chain baseline over the same samples with their gold tasks."""

    predicted: EdgeScores
    chain: EdgeScores
    n: int
    n_linear: int
    """Samples whose gold edges are exactly the chain: there the baseline is always right."""
    gain_interval: tuple[float, float]
    """95 % bootstrap interval of the mean of (link F1 - the chain's link F1), sample by sample."""

    def as_dict(self) -> dict[str, Any]:
        """Plain figures for JSON: `link_f1`, `reference_f1`, `chain` with both again, `link_f1_gain_interval`, `n`s."""
        return {
            **self.predicted.as_dict(),
            "chain": self.chain.as_dict(),
            "link_f1_gain_interval": list(self.gain_interval),
            "n": self.n,
            "n_linear": self.n_linear,
        }

    def table(self, title: str = "Edges given the gold tasks") -> Table:
        """A table of both, for a rich console."""
        from rich.table import Table

        table = Table(title=f"{title} ({self.n} samples, {self.n_linear} of them chains)")
        table.add_column("edges from")
        for name in ("link F1", "95 %", "reference F1", "95 %"):
            table.add_column(name, justify="right")
        for name, scores in (("graph generator", self.predicted), ("chain of the tasks", self.chain)):
            row = scores.as_dict()
            cells = [name]
            for figure in ("link_f1", "reference_f1"):
                low, high = row["intervals"][figure]
                cells += [f"{row[figure]:.3f}", f"{low:.3f}-{high:.3f}"]
            table.add_row(*cells)
        return table


def score_edges(samples: Sequence[PlanningSample], dependencies: Sequence[Sequence[tuple[int, int]]]) -> EdgeScores:
    """Score edges predicted over the gold tasks of each sample.

    Raises:
        ValueError: when there are no samples, not one list of edges a sample, or an edge is outside its sample's tasks.
    """
    if len(samples) != len(dependencies):
        raise ValueError(f"{len(dependencies)} lists of edges for {len(samples)} samples; give one a sample")
    plans = [PredictedPlan(s.task_types, tuple(d)) for s, d in zip(samples, dependencies, strict=True)]
    return EdgeScores(score_plans(samples, plans).link_f1, reference_counts(samples, plans))


def report_edges(samples: Sequence[PlanningSample], dependencies: Sequence[Sequence[tuple[int, int]]]) -> EdgeReport:
    """Compare edges predicted over the gold tasks with the chain of those tasks. Raises like `score_edges`."""
    predicted = score_edges(samples, dependencies)
    chain = score_edges(samples, [chain_links(s.task_types) for s in samples])
    return EdgeReport(
        predicted=predicted,
        chain=chain,
        n=len(samples),
        n_linear=sum(set(s.dependencies) == set(chain_links(s.task_types)) for s in samples),
        gain_interval=bootstrap_interval(predicted.link_f1 - chain.link_f1),
    )


def evaluate_edges(
    planner: GraphPlanner, samples: Sequence[PlanningSample], catalog: Catalog | None = None
) -> EdgeReport:
    """Let the planner's graph generator join the gold tasks of each sample, and score it beside the chain baseline.

    `catalog`: the one that the samples' task types are from, where it is not the planner's own.
    """
    return report_edges(samples, [planner.graph(s.instruction, s.task_types, catalog=catalog) for s in samples])
