"""Validation of a planner while it trains: plans decoded as they will be, scored, their confidences calibrated."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet

import jax
import numpy as np
from flax import nnx
from jaxtyping import Float

from orchestai_jax.config import Phase1Config, Preference
from orchestai_jax.data import PlanningSample, bucket_length
from orchestai_jax.evaluation import PredictedPlan, score_plans
from orchestai_jax.planner.calibration import Calibration, PlattScaling, fit_platt
from orchestai_jax.planner.catalog_arrays import CatalogArrays
from orchestai_jax.planner.decoding import DecodedPlans, decode
from orchestai_jax.planner.loss import PlanningBatch, planning_loss
from orchestai_jax.planner.model import ModelSpec, merge_parameters
from orchestai_jax.planner.plan_to_workflow import drawn_edges, pick_worker
from orchestai_jax.training.past_plan_vectors import PastPlanVectors
from orchestai_jax.training.placement import Placement
from orchestai_jax.training.planning_data import TRAINING_BUCKET, PlanningData
from orchestai_jax.training.train_state import TrainState
from orchestai_jax.workflow import Catalog


def make_evaluation(
    graphdef: nnx.GraphDef,
    arrays: CatalogArrays,
    data: PlanningData,
    spec: ModelSpec,
    config: Phase1Config,
    catalog: Catalog,
    placement: Placement,
    past: PastPlanVectors | None = None,
    own_vectors: Float[np.ndarray, "n V"] | None = None,
) -> Callable[[TrainState], Mapping[str, float]]:
    """Validation of a state: the loss's parts, node F1, link F1, accuracy and worker choice of plans decoded as they
    will be, `score`, and what their confidences must be scaled by.

    `score` is the mean of node F1 and link F1, and of the accuracy of worker choice where samples name workers of task
    types that have several.

    With `past` the plans of like training instructions vote. `own_vectors` are those of the validation instructions
    where the encoder is frozen, so that its layers are not told apart here; else they are made with each plan.
    """

    @jax.jit
    def measure(
        params, batch: PlanningBatch, arrays: CatalogArrays, vectors: jax.Array | None
    ) -> tuple[dict[str, jax.Array], DecodedPlans]:
        model = merge_parameters(graphdef, {**params["trainable"], **params["frozen"]})
        _, measurements = planning_loss(model, arrays, batch, config, None)
        tokens, mask = batch.tokens, batch.mask
        lower = model.lower(tokens, mask) if tokens.ndim == 2 else tokens
        decoded = decode(model, arrays, lower, mask, batch.preference, spec.planner.decoding, batch.evidence, vectors)
        return placement.gather((measurements, decoded))

    rows = config.batch_size
    order = sorted(range(len(data.samples)), key=lambda i: data.lengths[i])
    batches = []  # laid out anew each time: over a large catalog the evidence is too large to keep
    for start in range(0, len(order), rows):
        indices = order[start : start + rows]
        filled = np.array(indices + indices[-1:] * (rows - len(indices)))
        weights = (np.arange(rows) < len(indices)).astype(np.float32)
        padded = bucket_length(max(data.lengths[i] for i in indices), TRAINING_BUCKET)
        batches.append((indices, (filled, weights, padded)))

    def evaluate(state: TrainState) -> dict[str, float]:
        sums: dict[str, float] = {}
        samples: list[PlanningSample] = []
        plans: list[PredictedPlan] = []
        confidences = _Confidences()
        against = arrays
        if past is not None:
            against = dataclasses.replace(arrays, past=placement.everywhere(past.over_catalog(state)))
        for indices, rows_of_batch in batches:
            own = None if own_vectors is None else own_vectors[rows_of_batch[0]]
            placed, own = placement.batch((data.collate(*rows_of_batch), own), rows)
            measurements, decoded = jax.device_get(measure(state.params, placed, against, own))
            for name, value in measurements.items():
                sums[name] = sums.get(name, 0.0) + float(value) * len(indices)
            for row, i in enumerate(indices):
                samples.append(data.samples[i])
                success, cost, latency = data.preference_of(i)
                preference = Preference(success=success, cost=cost, latency=latency)
                plan = jax.tree.map(lambda x, row=row: x[row], decoded)
                plans.append(_predicted(plan, catalog, spec, preference))
                confidences.add(plan, plans[-1].task_types, data.samples[i].nodes)
        scores = score_plans(samples, plans, catalog.choices)
        metrics = {name: total / len(samples) for name, total in sums.items()}
        means = {name: float(np.mean(getattr(scores, name))) for name in ("node_f1", "link_f1", "accuracy")}
        metrics |= means
        judged = [means["node_f1"], means["link_f1"]]
        if scores.selection_accuracy is not None:
            metrics["selection_accuracy"] = scores.selection_accuracy
            judged.append(scores.selection_accuracy)
        return metrics | confidences.calibration().to_metrics() | {"score": float(np.mean(judged))}

    return evaluate


@dataclasses.dataclass
class _Confidences:
    """What the decoder gave its tasks and plans, and whether they were right."""

    of_tasks: list[tuple[float, bool]] = dataclasses.field(default_factory=list)
    of_plans: list[tuple[float, bool]] = dataclasses.field(default_factory=list)

    def add(self, plan: DecodedPlans, task_types: Sequence[str], gold: AbstractSet[str]) -> None:
        """Take one plan (a row of DecodedPlans) in."""
        self.of_tasks += [(float(plan.task_support[j]), t in gold) for j, t in enumerate(task_types)]
        self.of_plans.append((float(plan.plan_support), frozenset(task_types) == gold))

    def calibration(self) -> Calibration:
        """The scaling of least cross-entropy."""
        task, plan = (
            fit_platt(*zip(*pairs, strict=True)) if pairs else None for pairs in (self.of_tasks, self.of_plans)
        )
        return Calibration(task or PlattScaling(), plan or PlattScaling())


def _predicted(plan: DecodedPlans, catalog: Catalog, spec: ModelSpec, preference: Preference) -> PredictedPlan:
    chosen = [int(t) for t in plan.chosen if t < len(catalog.task_types)]
    n = len(chosen)
    edges = drawn_edges(np.asarray(plan.edge_probabilities)[:n, :n], spec.planner.graph_generator.threshold)
    task_types = tuple(catalog.task_types[t].id for t in chosen)
    return PredictedPlan(
        task_types=task_types,
        dependencies=edges,
        workers=tuple(
            pick_worker(np.asarray(plan.worker_logp[j]), task_type, catalog, spec.planner, preference)
            for j, task_type in enumerate(task_types)
        ),
        valid=True,
    )
