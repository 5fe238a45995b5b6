"""Runs workflows: checks them, starts each task as soon as it can, and records what became of every one."""

from orchestai_jax.execution.engine import execute, new_run_id
from orchestai_jax.execution.events import Event, EventKind
from orchestai_jax.execution.preflight import RunRefusedError, check_run

__all__ = [
    "Event",
    "EventKind",
    "RunRefusedError",
    "check_run",
    "execute",
    "new_run_id",
]
