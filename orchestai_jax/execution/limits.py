"""How much may run at once: the run's limit and each worker's, whichever is tighter."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping

from orchestai_jax.workers import Worker
from orchestai_jax.workflow import Catalog, WorkerLimits


def worker_limits(worker_id: str, catalog: Catalog, workers: Mapping[str, Worker]) -> WorkerLimits:
    """The limits of a worker: the tighter of what it declares itself and what the catalog declares for it."""
    declared = [workers[worker_id].spec.limits]
    declared += [spec.limits for spec in catalog.workers if spec.id == worker_id]
    return WorkerLimits(
        max_concurrency=min((e.max_concurrency for e in declared if e.max_concurrency is not None), default=None),
        timeout_s=min((e.timeout_s for e in declared if e.timeout_s is not None), default=None),
    )


class Slots:
    """Places to run in, for the whole run and for each worker.

    A task takes its worker's place first and the run's second: tasks that queue for a busy worker leave the run's
    places to others, and as the order is the same for all, nobody waits in a circle.
    """

    def __init__(self, max_concurrency: int, limits: Mapping[str, WorkerLimits]) -> None:
        self._run = asyncio.Semaphore(max_concurrency)
        self._workers = {
            worker_id: asyncio.Semaphore(limit.max_concurrency)
            for worker_id, limit in limits.items()
            if limit.max_concurrency is not None
        }

    @contextlib.asynccontextmanager
    async def place(self, worker_id: str) -> AsyncIterator[None]:
        """Wait for a place, hold it inside the `async with`, and give it back however that ends."""
        async with self._workers.get(worker_id, contextlib.nullcontext()), self._run:
            yield
