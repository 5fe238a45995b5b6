"""Who takes over when a worker fails: the order among the others that can do a task."""

from __future__ import annotations

from collections.abc import Mapping

from orchestai_jax.config import Preference
from orchestai_jax.workers import Worker
from orchestai_jax.workflow import Catalog, Task


def other_workers(
    task: Task, catalog: Catalog, workers: Mapping[str, Worker], preference: Preference | None = None
) -> list[str]:
    """The ids of the other workers here that can do a task, best first.

    Those that the plan ranks (`Task.alternatives`, as the worker selector gives them) come first, in its order; then
    the catalog's, by the preference over their declared quality, cost and latency, in the catalog's order where that
    says nothing.
    """
    preference = Preference() if preference is None else preference

    def able(worker_id: str) -> bool:
        return worker_id in workers and task.task_type in workers[worker_id].spec.task_types

    specs = [spec for spec in catalog.workers_for(task.task_type) if able(spec.id)]
    dearest = max((spec.cost for spec in specs), default=0.0) or 1.0
    slowest = max((spec.latency for spec in specs), default=0.0) or 1.0
    specs.sort(key=lambda s: -preference.utility(s.quality, s.cost / dearest, s.latency / slowest))  # stable
    ranked = [*(name for name in task.alternatives if able(name)), *(spec.id for spec in specs)]
    return [name for name in dict.fromkeys(ranked) if name != task.worker]
