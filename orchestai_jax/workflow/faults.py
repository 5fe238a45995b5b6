"""What can be wrong with a workflow, and the error that carries it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

FaultCode = Literal[
    "cycle",
    "unknown_task_type",
    "type_mismatch",
    "dangling_reference",
    "duplicate_task",
    "duplicate_dependency",
    "unknown_worker",
    "worker_cannot_do_task",
    "unknown_dependency",
    "self_dependency",
    "missing_argument",
    "bad_argument",
    "reference_without_dependency",
]


@dataclasses.dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with a workflow."""

    code: FaultCode
    message: str
    """One line: what is wrong, what was given, what is allowed."""
    task: str | None = None
    """The id of the task that is at fault, where it is one."""

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class WorkflowError(ValueError):
    """A workflow that cannot be read, ordered or run. `faults` lists what is wrong with it, where that is known."""

    def __init__(self, message: str, faults: Sequence[Fault] = ()):
        super().__init__(message)
        self.faults = tuple(faults)
