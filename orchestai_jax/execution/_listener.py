"""The one who watches a run, told of every change of state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from orchestai_jax.execution.events import Event, EventKind
from orchestai_jax.workflow import Workflow


class Listener:
    """Hands events on.

    Args:
        on_event: is told; None = nobody listens.
        workflow: the run's.
        clock: seconds since the run began.
    """

    def __init__(
        self, on_event: Callable[[Event], None] | None, workflow: Workflow, clock: Callable[[], float]
    ) -> None:
        self._on_event, self._workflow, self._clock = on_event, workflow, clock
        self._broke = False
        self.listens = on_event is not None
        """Whether anybody does: else nothing need be made for him."""

    def tell(self, kind: EventKind, **what: Any) -> None:
        """Hand the listener an event. One that has raised is told nothing more but `ended`, which brings the record."""
        if self._on_event is None or (self._broke and kind != "ended"):
            return
        try:
            self._on_event(Event(kind=kind, at_s=self._clock(), workflow=self._workflow, **what))
        except BaseException:
            self._broke = True
            raise
