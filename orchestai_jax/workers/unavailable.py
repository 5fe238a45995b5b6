"""What stands in the place of a worker that a catalog lists and this installation cannot open."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from orchestai_jax.workers.health import Health
from orchestai_jax.workers.worker import Output, WorkerContext, WorkerError
from orchestai_jax.workflow.catalog import TaskType, WorkerSpec


@dataclasses.dataclass(frozen=True)
class UnavailableWorker:
    """Fails every task with the reason why it cannot be opened; `fault` tells it before a run.

    Attributes:
        spec: its entry in the catalog.
        reason: one line that says what is missing and what to do.
    """

    spec: WorkerSpec
    reason: str

    def fault(self) -> str:
        """The reason."""
        return self.reason

    async def run(self, task_type: TaskType, arguments: Mapping[str, Any], context: WorkerContext) -> Output:
        """Raise the reason."""
        raise WorkerError(self.reason)

    async def check(self) -> Health:
        """The reason."""
        return Health(False, self.reason)
