"""What a worker is: something that does one task of a workflow and says what that cost."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from orchestai_jax.workflow.catalog import TaskType, WorkerSpec


class WorkerError(RuntimeError):
    """A worker could not do its task. The message is one line that names the cause."""


@dataclasses.dataclass(frozen=True, slots=True)
class Output:
    """What a worker gives back.

    Attributes:
        values: one JSON value for each output of the task type. Files are paths relative to the root, as str; texts are
            the text itself or the path of a text file.
        cost: US dollars.
        tokens: tokens of language models used, 0 for tools.
    """

    values: Mapping[str, Any]
    cost: float = 0.0
    tokens: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class WorkerContext:
    """Where a task reads and writes.

    Attributes:
        root: files are read inside this folder only.
        output_folder: files are written here; a folder inside `root` (made where it is missing).
        task_id: becomes a part of the names of output files.
    """

    root: Path
    output_folder: Path
    task_id: str


@runtime_checkable
class Worker(Protocol):
    """Anything that can do a task: a local tool, a language model, a remote service."""

    @property
    def spec(self) -> WorkerSpec:
        """What the worker can do and is expected to cost."""
        ...

    async def run(self, task_type: TaskType, arguments: Mapping[str, Any], context: WorkerContext) -> Output:
        """Do one task.

        Args:
            task_type: what to do.
            arguments: inputs and parameters by name; references are already resolved to values.
            context: where to read and write.

        Raises:
            WorkerError: the task failed; one clear line.
        """
        ...
