"""Two catalogs as one: a catalog and what was discovered, or two that ship with the package."""

from __future__ import annotations

from orchestai_jax.workflow.catalog import Catalog, CatalogError


def merge_catalogs(first: Catalog, second: Catalog, *, replace_workers: bool = False) -> Catalog:
    """The task types, workers and links of both, those of `first` first. The name is that of `first`.

    What stands in both alike is taken once.

    Args:
        first: the catalog that is added to.
        second: what is added.
        replace_workers: a worker of `second` takes the place of the one of `first` that has its id.

    Raises:
        CatalogError: a task type (or a worker, unless they are replaced) is declared differently in the two.
    """
    task_types = {t.id: t for t in first.task_types}
    for task_type in second.task_types:
        if task_types.setdefault(task_type.id, task_type) != task_type:
            raise CatalogError(
                f"catalogs {first.name!r} and {second.name!r} declare the task type {task_type.id!r} differently"
            )
    workers = {w.id: w for w in first.workers}
    for worker in second.workers:
        if workers.get(worker.id, worker) != worker and not replace_workers:
            raise CatalogError(
                f"catalogs {first.name!r} and {second.name!r} declare the worker {worker.id!r} differently"
            )
        workers[worker.id] = worker
    return Catalog(
        name=first.name,
        task_types=tuple(task_types.values()),
        workers=tuple(workers.values()),
        links=tuple(dict.fromkeys((*first.links, *second.links))),
    )
