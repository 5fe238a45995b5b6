"""What a run tells whoever watches it, one frozen value a change of state."""

from __future__ import annotations

import dataclasses
from typing import Literal

from orchestai_jax.workflow import RunRecord, Task, TaskRun, Workflow

EventKind = Literal["planned", "started", "finished", "failed", "skipped", "cancelled", "ended"]


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """One change of state of a run.

    A run tells `planned` once (its checks are passed, nothing has started), then for every task either `started`
    followed by one of `finished`, `failed`, `cancelled`, or one of `skipped`, `cancelled` alone, and `ended` once, as
    the last one, however the run ends: a listener that writes `record` at `ended` loses no run, cancelled ones among
    them.
    """

    kind: EventKind
    at_s: float
    """Seconds since the run began."""
    workflow: Workflow
    task: Task | None = None
    """The task concerned; None for `planned` and `ended`."""
    task_run: TaskRun | None = None
    """How the task ended; set for `finished`, `failed`, `skipped` and `cancelled`."""
    record: RunRecord | None = None
    """The whole run; set for `ended`."""
