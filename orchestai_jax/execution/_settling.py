"""What has ended: written to the journal first, then made known.

A task that ends is put on a list; once all that ends in the same turn of the loop is on it, `commit` writes one entry
to the journal for all of them, and only then do their outputs become visible: the listener is told, and whoever waits
for them is started.
"""

from __future__ import annotations

import collections
from collections.abc import Callable
from typing import Any

from orchestai_jax.execution._listener import Listener
from orchestai_jax.execution._node import NOTHING, Node
from orchestai_jax.execution._places import Places
from orchestai_jax.execution.events import EventKind
from orchestai_jax.execution.journal import Journal
from orchestai_jax.workers import Output
from orchestai_jax.workflow import Attempt
from orchestai_jax.workflow.record import TaskStatus

_EVENT_OF: dict[TaskStatus, EventKind] = {
    "succeeded": "finished",
    "failed": "failed",
    "skipped": "skipped",
    "cancelled": "cancelled",
}


class Settling:
    """Gives each task its one final state.

    Args:
        count: how many tasks the run has.
        places: who may start now; gets back what ended tasks held, and is given those that are ready.
        listener: is told.
        clock: seconds since the run began.
        soon: calls a function in the next turn of the loop.
        all_done: is called when every task has its state, and all of them are known.
        broke: is told an error of the journal's or the listener's.
    """

    def __init__(
        self,
        count: int,
        places: Places,
        listener: Listener,
        clock: Callable[[], float],
        soon: Callable[[Callable[[], None]], None],
        all_done: Callable[[], None],
        broke: Callable[[BaseException], None],
    ) -> None:
        self._left, self._places, self._listener, self._clock = count, places, listener, clock
        self._soon, self._all_done, self._broke = soon, all_done, broke
        self.journal: Journal | None = None
        """None where there is none, or where it could not be written."""
        self._begun: list[Node] = []
        self._failed_calls: list[tuple[Node, Attempt]] = []
        self._settled: list[Node] = []
        self._will_commit = False

    @property
    def left(self) -> int:
        """How many tasks have no state that is known."""
        return self._left

    def keep(self, node: Node) -> None:
        """Of a resumption: a task was finished before."""
        self._left -= 1
        for dependent in node.dependents:
            dependent.waits_for -= 1

    def begin(self, node: Node) -> None:
        """A task's work begins."""
        self._begun.append(node)
        if not self._will_commit:
            self._commit_soon()

    def write_down(self, node: Node, failed: Attempt) -> None:
        """Keep a call that failed: a resumption counts it, and what it cost."""
        self._failed_calls.append((node, failed))
        self._commit_soon()

    def settle(self, node: Node, status: TaskStatus, *, output: Output | None = None, error: str | None = None) -> None:
        """Write a task's only final state; `commit` makes it known. Who has one keeps it."""
        if node.status is not None:
            return
        now = self._clock()
        if not node.begun:
            node.started_s = now
        node.status, node.output, node.error, node.duration_s = status, output, error, now - node.started_s
        node.values = NOTHING
        if node.holds:
            self._places.release(node)
        self._settled.append(node)
        if not self._will_commit:
            self._commit_soon()

    def commit(self, *, at_the_end: bool = False) -> None:
        """Journal what has begun and ended, then make it known. Raises the journal's or listener's error at the end."""
        self._will_commit = False
        begun, failed, settled = self._begun, self._failed_calls, self._settled
        self._begun, self._failed_calls, self._settled = [], [], []
        try:
            if self.journal is not None:
                self._write(self.journal, begun, failed, settled)
            for node in settled:
                self._publish(node)
        except Exception as error:
            if at_the_end:
                raise
            self._broke(error)
            return
        if self._left == 0:
            self._all_done()
        elif settled:
            self._places.admit()

    def _commit_soon(self) -> None:
        if not self._will_commit:
            self._will_commit = True
            self._soon(self.commit)

    def _write(
        self, journal: Journal, begun: list[Node], failed: list[tuple[Node, Attempt]], settled: list[Node]
    ) -> None:
        entries: list[dict[str, Any]] = [
            {"started": {"task": node.task.id, "worker": node.door.worker_id, "at_s": node.started_s}}
            for node in begun
            if node.status is None
        ]
        if failed:
            entries += [
                {"called": {"task": node.task.id, "attempt": attempt.__dict__}}
                for node, attempt in failed
                if node.status is None  # else the task's end says it
            ]
        entries += [{"ended": node.ending()} for node in settled]
        if not entries:
            return
        try:
            journal.write(entries)
        except BaseException:
            self.journal = None  # what could not be written once is not tried again; the run ends
            raise

    def _publish(self, node: Node) -> None:
        """What has ended becomes visible: to the listener, and to those who wait for it."""
        self._left -= 1
        assert node.status is not None
        if self._listener.listens:
            self._listener.tell(_EVENT_OF[node.status], task=node.task, task_run=node.task_run())
        if node.status == "succeeded":
            for dependent in node.dependents:
                dependent.waits_for -= 1
                if not dependent.waits_for and dependent.status is None:
                    self._places.push(dependent)
        elif node.status != "cancelled":
            self._skip_dependents(node)

    def _skip_dependents(self, node: Node) -> None:
        """End everything that depends on a failed task, near or far. None of it can have started."""
        word = "failed" if node.status == "failed" else "was skipped"
        cause = f"task {node.task.id} {word}: {node.error}"
        todo = collections.deque(node.dependents)
        while todo:
            dependent = todo.popleft()
            if dependent.status is None:
                self.settle(dependent, "skipped", error=cause)
                todo.extend(dependent.dependents)
