"""What a worker is: something that does one task of a workflow and says what that cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import msgspec

from orchestai_jax.workflow.catalog import TaskType, WorkerSpec


class WorkerError(RuntimeError):
    """A worker could not do its task. The message is one line that names the cause.

    Attributes:
        retryable: the same call may well succeed later: the service was busy, unreachable, or broke off its answer.
        retry_after_s: seconds that the service asked to be left alone for, None where it asked for nothing.
        cost: US dollars that the failed call has cost all the same: an answer that was billed and could not be used.
        tokens: tokens of language models that it has used.
    """

    def __init__(
        self,
        message: str,
        *,
        retryable: bool = False,
        retry_after_s: float | None = None,
        cost: float = 0.0,
        tokens: int = 0,
    ):
        super().__init__(message)
        self.retryable = retryable
        self.retry_after_s = retry_after_s
        self.cost = cost
        self.tokens = tokens


class Output(msgspec.Struct, frozen=True):  # a dataclass that is frozen takes ten times as long to make
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


class WorkerContext(msgspec.Struct, frozen=True):
    """Where a task reads and writes.

    Attributes:
        root: files are read inside this folder only.
        output_folder: files are written here; a folder inside `root` (made where it is missing).
        task_id: becomes a part of the names of output files.
        on_chunk: is told each piece of the output's text as it comes, on the event loop's thread; None where nobody
            listens. A task that is tried again tells its text again from the start.
        idempotency_key: the same at every attempt of this task, also after its run was killed and resumed: a service
            that is sent it can tell a repeated call from a new one. Empty outside a run.
        attempt: 1 at the task's first call, one more at each further one, of whichever worker.
    """

    root: Path
    output_folder: Path
    task_id: str
    on_chunk: Callable[[str], None] | None = None
    idempotency_key: str = ""
    attempt: int = 1


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
