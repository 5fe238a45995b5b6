"""From a decoded plan (arrays) to a workflow: edges over the threshold, workers, arguments, confidence, notes."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from orchestai_jax.config import PlannerConfig, Preference
from orchestai_jax.planner.arguments import FillsArguments, fill_arguments
from orchestai_jax.planner.calibration import Calibration
from orchestai_jax.planner.decoding import DecodedPlans
from orchestai_jax.workflow import Catalog, Reference, Task, Workflow

LOW_CONFIDENCE = 0.2
"""Workflows under this confidence say so in their notes."""


MAX_ALTERNATIVES = 4
"""Workers that a plan names beside the chosen one: nobody tries more of them."""


def empty_workflow(instruction: str, reason: str) -> Workflow:
    """The plan for an instruction that cannot be planned, and why."""
    return Workflow(instruction=instruction, confidence=0.0, notes=(reason,))


def to_workflow(
    instruction: str,
    plan: DecodedPlans,
    catalog: Catalog,
    config: PlannerConfig,
    preference: Preference,
    calibration: Calibration,
    notes: tuple[str, ...] = (),
    fill: FillsArguments = fill_arguments,
) -> Workflow:
    """The workflow of one decoded plan (a row of DecodedPlans, as NumPy arrays), its arguments filled by `fill`.

    A task's confidence is the calibrated probability that its type is wanted, the workflow's that its set of task types
    is exactly the one wanted.
    """
    chosen = [int(t) for t in plan.chosen if t < len(catalog.task_types)]
    task_types = [catalog.task_types[t].id for t in chosen]
    n = len(chosen)
    probabilities = np.asarray(plan.edge_probabilities)[:n, :n]
    edges = set(drawn_edges(probabilities, config.graph_generator.threshold))
    filled = fill(instruction, task_types, edges, catalog, edge_probability=lambda s, t: float(probabilities[s, t]))
    tasks = []
    found_notes = [*notes, *filled.notes]
    for j, task_type in enumerate(task_types):
        arguments = filled.arguments[j]
        sources = {a.task for a in arguments.values() if isinstance(a, Reference)}
        sources |= {f"t{s + 1}" for s, t in filled.edges if t == j}
        ranked = rank_workers(np.asarray(plan.worker_logp[j]), task_type, catalog, config, preference)
        if not ranked and catalog.workers:
            found_notes.append(f"t{j + 1}: no worker of the catalog can do {task_type}")
        tasks.append(
            Task(
                id=f"t{j + 1}",
                task_type=task_type,
                worker=ranked[0] if ranked else None,
                alternatives=tuple(ranked[1 : 1 + MAX_ALTERNATIVES]),
                arguments=arguments,
                depends_on=tuple(sorted(sources, key=lambda name: int(name[1:]))),
                confidence=calibration.task(float(plan.task_support[j])),
                complexity=min(max(float(plan.complexity[j]), 0.0), 1.0),
            )
        )
    if not catalog.workers:
        found_notes.append("the catalog has no workers")
    confidence = calibration.plan(float(plan.plan_support))
    if confidence < LOW_CONFIDENCE:
        found_notes.append(f"low confidence ({confidence:.2f}): look at this plan before you run it")
    return Workflow(
        instruction=instruction,
        tasks=tuple(tasks),
        confidence=confidence,
        notes=tuple(dict.fromkeys(found_notes)),
    )


def drawn_edges(probabilities: Float[np.ndarray, "n n"], threshold: float) -> tuple[tuple[int, int], ...]:
    """The edges (source, target) that are drawn: as probable as the threshold, and possible at all."""
    drawn = (probabilities >= threshold) & (probabilities > 0)
    return tuple((int(s), int(t)) for s, t in zip(*np.nonzero(drawn), strict=True))


def pick_worker(
    worker_logp: Float[np.ndarray, "M"],
    task_type_id: str,
    catalog: Catalog,
    config: PlannerConfig,
    preference: Preference,
) -> str | None:
    """The worker that a task gets, the first of `rank_workers`; None where no worker can do the task."""
    return next(iter(rank_workers(worker_logp, task_type_id, catalog, config, preference)), None)


def rank_workers(
    worker_logp: Float[np.ndarray, "M"],
    task_type_id: str,
    catalog: Catalog,
    config: PlannerConfig,
    preference: Preference,
) -> list[str]:
    """The workers that can do a task, best first: by their probability, or by the declared figures where the learned
    selector is off.

    Equals keep the catalog's order. `worker_logp` is a row of `DecodedPlans.worker_logp`.
    """
    able = catalog.workers_for(task_type_id)
    if config.worker_selector.enabled:
        return [able[int(i)].id for i in np.argsort(-worker_logp[: len(able)], kind="stable")]
    dearest, slowest = max((w.cost for w in able), default=0) or 1.0, max((w.latency for w in able), default=0) or 1.0
    ranked = sorted(able, key=lambda w: -preference.utility(w.quality, w.cost / dearest, w.latency / slowest))
    return [worker.id for worker in ranked]
