"""Workers of installed packages, announced as entry points of the group `orchestai.workers`."""

from __future__ import annotations

import dataclasses
import importlib.metadata

from orchestai_jax.workers.worker import Worker
from orchestai_jax.workflow.catalog import TaskType

GROUP = "orchestai.workers"


@dataclasses.dataclass(frozen=True)
class WorkerOffer:
    """What a package brings. An entry point names a function without arguments that returns one.

    Attributes:
        task_types: the task types that it brings, where they are not those of a catalog that is there already.
        workers: the workers.
    """

    task_types: tuple[TaskType, ...]
    workers: tuple[Worker, ...]


def offer_names() -> list[str]:
    """The names of every entry point of the group, sorted."""
    return sorted({point.name for point in importlib.metadata.entry_points(group=GROUP)})


def find_offer(name: str) -> WorkerOffer | str:
    """What an entry point brings, or one line that says why it brings nothing.

    A package that breaks while it is loaded must not break what has nothing to do with it, so that is said, not raised.
    """
    points = list(importlib.metadata.entry_points(group=GROUP, name=name))
    if not points:
        known = ", ".join(offer_names()) or "none"
        return f"no installed package has the entry point {name!r} of the group {GROUP}; installed: {known}"
    try:
        offer = points[0].load()()
    except Exception as error:  # noqa: BLE001 - foreign code; its error is the finding
        line = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        return f"entry point {name!r} ({points[0].value}) cannot be loaded: {line}"
    if not isinstance(offer, WorkerOffer):
        return f"entry point {name!r} ({points[0].value}) gives a {type(offer).__name__}, not a WorkerOffer"
    wrong = [worker for worker in offer.workers if not isinstance(worker, Worker)]
    if wrong:
        return f"entry point {name!r}: {type(wrong[0]).__name__} is no worker; it needs `spec` and `run`"
    return offer
