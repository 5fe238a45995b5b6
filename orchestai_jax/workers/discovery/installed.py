"""Workers of every installed package that announces some."""

from __future__ import annotations

from orchestai_jax.workers.discovery.entry_points import find_offer, offer_names
from orchestai_jax.workers.discovery.found import Found
from orchestai_jax.workflow.connections import EntryPointConnection


def find_installed() -> Found:
    """The workers and task types of all entry points of the group `orchestai.workers`."""
    task_types, workers, passed_over = [], [], []
    for name in offer_names():
        offer = find_offer(name)
        if isinstance(offer, str):
            passed_over.append((name, offer))
            continue
        task_types += offer.task_types
        connection = EntryPointConnection(name=name)
        workers += [worker.spec.model_copy(update={"connection": connection}) for worker in offer.workers]
    return Found(tuple(workers), tuple(task_types), tuple(passed_over))
