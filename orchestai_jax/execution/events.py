"""What a run tells whoever watches it, one frozen value a change of state."""

from __future__ import annotations

import dataclasses
from typing import Literal

from orchestai_jax.workflow import Attempt, RunRecord, Task, TaskRun, Workflow

EventKind = Literal[
    "planned",
    "kept",
    "started",
    "chunk",
    "retried",
    "rerouted",
    "finished",
    "failed",
    "skipped",
    "cancelled",
    "ended",
]


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """One change of state of a run.

    A run tells `planned` once (its checks are passed, nothing has started); where it is a resumption, `kept` for every
    task that was finished before; then for every other task either `started` followed by one of `finished`, `failed`,
    `cancelled`, or one of `skipped`, `cancelled` alone; and `ended` once, as the last one, however the run ends.
    Between `started` and its end a task may tell `chunk` (a piece of its output's text), `retried` (a call failed, the
    same worker is called again) and `rerouted` (its worker failed for good, another takes over).

    `finished` comes when the task's output is in the journal, and `ended` when the record is written.
    """

    kind: EventKind
    at_s: float
    """Seconds since the run began."""
    workflow: Workflow
    task: Task | None = None
    """The task concerned; None for `planned` and `ended`."""
    task_run: TaskRun | None = None
    """How the task ended; set for `kept`, `finished`, `failed`, `skipped` and `cancelled`."""
    record: RunRecord | None = None
    """The whole run; set for `ended`."""
    text: str | None = None
    """The piece of text; set for `chunk`. After `retried` and `rerouted` the text begins anew."""
    attempt: Attempt | None = None
    """The call that failed; set for `retried` and `rerouted`."""
    worker: str | None = None
    """Who is called next; set for `retried` and `rerouted`."""
    delay_s: float = 0.0
    """Seconds until then, for `retried`."""
