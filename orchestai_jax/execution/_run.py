"""The state machine of one run: starts what is ready, takes in what has ended, journals it, and lets others go on.

Everything happens on the event loop's thread. A task that ends is put on a list; once all that ends in the same turn
of the loop is on it, `_commit` writes one entry to the journal for all of them, and only then do their outputs become
visible: listeners are told, and whoever waits for them is started.
"""

from __future__ import annotations

import asyncio
import collections
import contextvars
import functools
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from orchestai_jax.execution._collector import without_collector
from orchestai_jax.execution._node import Door, Doors, Node, make_nodes, rank
from orchestai_jax.execution._places import Places
from orchestai_jax.execution._spending import Spending
from orchestai_jax.execution.attempts import being_cancelled, carry_out, leave_behind, note, within
from orchestai_jax.execution.events import Event, EventKind
from orchestai_jax.execution.failures import CallFailed, masked_traceback, one_line
from orchestai_jax.execution.gates import NO_LIMIT
from orchestai_jax.execution.journal import Journal
from orchestai_jax.execution.order import RunOrder
from orchestai_jax.execution.ranking import other_workers
from orchestai_jax.execution.tracing import Tracer
from orchestai_jax.execution.values import BadValueError, check_output, declared_use
from orchestai_jax.workers import Output, WorkerContext
from orchestai_jax.workflow import Attempt, TaskRun
from orchestai_jax.workflow.record import TaskStatus

_log = logging.getLogger(__name__)

_EVENT_OF: dict[TaskStatus, EventKind] = {
    "succeeded": "finished",
    "failed": "failed",
    "skipped": "skipped",
    "cancelled": "cancelled",
}


class Run:
    """One run, from its first task to its last."""

    def __init__(
        self,
        order: RunOrder,
        *,
        on_event: Callable[[Event], None] | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        self._order, self._on_event, self._tracer = order, on_event, tracer
        self._journal: Journal | None = None
        self._listener_broke = False
        self._doors = Doors(order.catalog, order.workers, order.policies, order.gates)
        with without_collector():
            self._nodes = make_nodes(order.workflow, order.catalog, self._doors)
        self._spending = Spending(order.policies.budget)
        self._places = Places(
            order.max_concurrency, self._spending, self._launch, self._refuse, self._soon, self._break
        )
        self._running: dict[Node, asyncio.Task[None]] = {}
        self._begun: list[Node] = []
        self._failed_calls: list[tuple[Node, Attempt]] = []
        self._settled: list[Node] = []
        self._left = len(self._nodes)
        self._late: str | None = None
        """Set when the deadline has passed: what those that it stopped are told."""
        self._will_commit = False
        self._loop: asyncio.AbstractEventLoop
        self._context: contextvars.Context
        """The run's own: what is started from within a task must not come under that task's span."""
        self._over: asyncio.Future[None]
        self._began = time.perf_counter() - order.clock_s

    def keep_in(self, journal: Journal | None) -> None:
        """Write down what is done in this journal; without one, nowhere."""
        self._journal = journal

    def clock(self) -> float:
        """Seconds since the run began, without those between a kill and the resumption."""
        return time.perf_counter() - self._began

    @property
    def journal_is_whole(self) -> bool:
        """Whether everything was written to the journal."""
        return self._journal is not None

    @property
    def task_runs(self) -> tuple[TaskRun, ...]:
        """How every task ended, in the workflow's order; all of them have."""
        with without_collector():
            return tuple([node.task_run() for node in self._nodes])

    def tell(self, kind: EventKind, **what: Any) -> None:
        """Hand the listener an event. One that has raised is told nothing more but `ended`, which brings the record."""
        if self._on_event is None or (self._listener_broke and kind != "ended"):
            return
        try:
            self._on_event(Event(kind=kind, at_s=self.clock(), workflow=self._order.workflow, **what))
        except BaseException:
            self._listener_broke = True
            raise

    # From the first task to the last

    async def to_the_end(self) -> None:
        """Run every task that can run. Raises what a listener or the journal raised, or CancelledError."""
        self._loop, self._context = asyncio.get_running_loop(), contextvars.copy_context()
        self._over = self._loop.create_future()
        deadline = self._order.policies.budget.deadline_s
        timers = []
        try:
            self.tell("planned")
            self._take_in_what_is_finished()
            if deadline is not None and self.clock() < deadline:
                timers.append(self._loop.call_later(max(0.0, deadline - self.clock()), self._deadline_has_passed))
            limited = any(node.door.gate.free < NO_LIMIT for node in self._nodes)
            if limited or self._order.max_concurrency < len(self._nodes):
                rank(self._nodes)
            for node in self._nodes:
                if not node.waits_for and node.status is None:
                    self._places.push(node)
            if self._left:
                if deadline is not None and self.clock() >= deadline:  # of a resumption: nobody is called
                    self._deadline_has_passed()
                else:
                    self._places.admit()
                await self._over
        finally:
            for timer in timers:
                timer.cancel()
            self._places.close()
            await self._stop_what_runs()
            self._commit(at_the_end=True)

    def cancel_the_rest(self) -> None:
        """Give every task that has not ended the state `cancelled`, and tell of it when all of them have it."""
        for node in self._nodes:
            self._settle(node, "cancelled", error="the run was cancelled before this task could end")
        self._commit(at_the_end=True)

    def _take_in_what_is_finished(self) -> None:
        """Of a resumption: the tasks whose outputs are in the journal count as done."""
        for node in self._nodes:
            run = self._order.finished.get(node.task.id)
            if run is None:
                node.earlier = self._order.failed_calls.get(node.task.id, ())
                self._spending.spent(sum(attempt.cost for attempt in node.earlier))
                continue
            node.status, node.launched, node.begun, node.run = run.status, True, True, run
            node.output = Output(run.outputs, run.cost, run.tokens)
            self._spending.spent(run.cost)
            self._left -= 1
            self.tell("kept", task=node.task, task_run=run)
            for dependent in node.dependents:
                dependent.waits_for -= 1

    def _deadline_has_passed(self) -> None:
        self._late = f"the run's deadline of {self._order.policies.budget.deadline_s:g} s has passed"
        self._places.close()
        for node in self._nodes:
            if not node.launched:
                self._settle(node, "skipped", error=self._late)
        for task in set(self._running.values()):
            task.cancel()
        self._loop.call_soon(self._sweep)
        # What does not stop is told no second time, and nobody waits for it.
        self._loop.call_later(self._order.policies.grace_s, self._leave_behind)

    async def _stop_what_runs(self) -> None:
        tasks = set(self._running.values())
        if not tasks:
            return
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=self._order.policies.grace_s)
        self._sweep()
        self._leave_behind()

    def _sweep(self) -> None:
        """Settle what was stopped before its first step, and could not do it itself."""
        for node, task in list(self._running.items()):
            if task.done():
                del self._running[node]
                self._settle_stopped(node)

    def _leave_behind(self) -> None:
        for node, task in list(self._running.items()):
            del self._running[node]
            leave_behind(node.door.worker_id, task)
            self._settle_stopped(node)

    def _break(self, error: BaseException) -> None:
        """End the run with an error of a listener's or the journal's."""
        if not self._over.done():
            self._over.set_exception(error)

    # One task

    def _launch(self, batch: list[Node]) -> None:
        """Start tasks. One asyncio task carries them one after the other, as long as they end without ever waiting: an
        asyncio task costs more than all else that is done for such a task. The first that waits leaves the rest to
        asyncio tasks of their own, which start in the same turn of the loop.
        """
        if self._tracer is not None or len(batch) == 1:
            self._launch_apart(batch)
        else:
            waiting = collections.deque(batch)
            carrier = self._loop.create_task(self._carry(waiting))
            for node in batch:
                self._running[node] = carrier
            self._soon(self._relieve, waiting)

    async def _carry(self, batch: collections.deque[Node]) -> None:
        while batch and not self._places.closed:
            await self._perform(batch.popleft())
        for node in batch:  # the run is being stopped
            self._running.pop(node, None)
            self._settle_stopped(node)

    def _relieve(self, batch: collections.deque[Node]) -> None:
        """What a carrier has not come to starts by itself."""
        if not batch or self._places.closed:
            return  # where the run is being stopped they are stopped with their carrier
        rest = list(batch)
        batch.clear()
        self._launch_apart(rest)

    def _launch_apart(self, batch: list[Node]) -> None:
        for node in batch:
            work = self._perform(node)
            self._running[node] = self._loop.create_task(
                work if self._tracer is None else self._tracer.traced(node, work)
            )

    def _refuse(self, node: Node, reason: str) -> None:
        self._settle(node, "skipped", error=reason)

    async def _perform(self, node: Node) -> None:
        """A task from its first call to its end."""
        try:
            node.begun = True
            node.started_s = self.clock()
            if self._on_event is not None:
                self.tell("started", task=node.task)
            self._begun.append(node)
            self._commit_soon()
            node.values = node.arguments(self._order.root)
            failure = None
            if node.door.plain:
                try:
                    output = await self.call(node)
                except CallFailed as error:
                    failure = error
                    note(self, node, node.started_s, failure)
                    if being_cancelled():
                        raise asyncio.CancelledError from failure
                    self.release(node)
                else:
                    if node.earlier:
                        note(self, node, node.started_s, output)
                    self._settle(node, "succeeded", output=output)
                    return
            output = await carry_out(self, node, failure)
        except asyncio.CancelledError:
            self._settle_stopped(node)
            raise
        except BadValueError as error:  # what an earlier task gave is no argument for this one, whoever does it
            self._settle(node, "failed", error=one_line(str(error)))
        except CallFailed as error:
            self._settle(node, "failed", error=str(error))
        except Exception as error:  # noqa: BLE001 - the listener's: it ends the run and is raised there
            self._break(error)
        except BaseException:  # an interrupt, which asyncio hands to whoever runs the loop
            self._running[node].add_done_callback(asyncio.Task.exception)  # seen
            raise
        else:
            self._settle(node, "succeeded", output=output)
        finally:
            self._running.pop(node, None)

    async def call(self, node: Node) -> Output:
        """Call the node's worker once, within its time limit, and check its output.

        Raises:
            CallFailed: the worker raised an error, took too long or gave a bad output; what it cost is charged.
        """
        order, door = self._order, node.door
        context = WorkerContext(
            order.root,
            order.output_folder,
            node.task.id,
            None if self._on_event is None else functools.partial(self._tell_chunk, node),
            f"{order.run_id}/{node.task.id}",
            len(node.earlier) + len(node.attempts) + 1,
        )
        try:
            work = door.worker.run(node.task_type, dict(node.values), context)
            if door.timeout_s is None:
                output = await work
            else:
                output = await within(door.timeout_s, order.policies.grace_s, door.worker_id, work)
        except asyncio.CancelledError:
            if being_cancelled():
                raise
            # Passed on, this would end the task without a state, and its dependents would wait for ever.
            raise CallFailed("worker", f"worker {door.worker_id} cancelled its own work") from None
        except Exception as error:  # noqa: BLE001 - any error of a worker ends its task, never the run
            failure = CallFailed.of(error)
            if failure.kind == "crash":
                _log.warning("worker %s broke on task %s: %s", door.worker_id, node.task.id, masked_traceback(error))
            self._spending.spent(failure.cost)
            raise failure from (None if failure is error else error)
        try:
            checked = check_output(output, node.task_type, order.root)
        except BadValueError as error:
            cost, tokens = declared_use(output)
            self._spending.spent(cost)
            raise CallFailed("malformed", one_line(str(error)), cost=cost, tokens=tokens) from error
        self._spending.spent(checked.cost)
        return checked

    async def place(self, node: Node) -> None:
        """Wait for a place of the worker's and one of the run's."""
        await self._places.place(node)

    def release(self, node: Node) -> None:
        """Give both back."""
        self._places.release(node)

    def write_down(self, node: Node, failed: Attempt) -> None:
        """Keep a call that failed: a resumption counts it, and what it cost."""
        self._failed_calls.append((node, failed))
        self._commit_soon()

    def other_doors(self, node: Node) -> Sequence[Door]:
        """The other workers that may take the task over, best first."""
        most = self._order.policies.fallback_workers
        if not most:
            return ()
        others = other_workers(node.task, self._order.catalog, self._order.workers, self._order.preference)
        return [self._doors.door(worker_id, node.task.id) for worker_id in others[:most]]

    def _tell_chunk(self, node: Node, text: str) -> None:
        if node.status is not None:
            return  # a call that was left behind still talks
        try:
            self.tell("chunk", task=node.task, text=text)
        except Exception as error:  # noqa: BLE001 - the listener's fault, not the worker's that is talking
            self._break(error)

    # What has ended

    def _settle_stopped(self, node: Node) -> None:
        if not node.begun:
            status = "cancelled" if self._late is None else "skipped"
            self._settle(node, status, error=self._late or "the run was cancelled before this task could end")
        elif self._late is not None:
            self._settle(node, "failed", error=f"{self._late} while this task ran")
        else:
            self._settle(node, "cancelled", error="the run was cancelled while this task ran")

    def _settle(
        self, node: Node, status: TaskStatus, *, output: Output | None = None, error: str | None = None
    ) -> None:
        """Write a task's only final state; `_commit` makes it known. Who has one keeps it."""
        if node.status is not None:
            return
        now = self.clock()
        if not node.begun:
            node.started_s = now
        node.status, node.output, node.error, node.duration_s = status, output, error, max(0.0, now - node.started_s)
        node.values = {}
        if node.holds:
            self._places.release(node)
        self._settled.append(node)
        self._commit_soon()

    def _commit_soon(self) -> None:
        if not self._will_commit:
            self._will_commit = True
            self._soon(self._commit)

    def _soon(self, callback: Callable[..., None], *arguments: Any) -> None:
        self._loop.call_soon(callback, *arguments, context=self._context)

    def _commit(self, *, at_the_end: bool = False) -> None:
        """Journal what has begun and ended, then make it known."""
        self._will_commit = False
        begun, failed, settled = self._begun, self._failed_calls, self._settled
        self._begun, self._failed_calls, self._settled = [], [], []
        try:
            if self._journal is not None:
                self._write_down(self._journal, begun, failed, settled)
            for node in settled:
                self._publish(node)
        except Exception as error:
            if at_the_end:
                raise
            self._break(error)
            return
        if self._left == 0:
            if not self._over.done():
                self._over.set_result(None)
        elif settled:
            self._places.admit()

    def _write_down(
        self, journal: Journal, begun: list[Node], failed: list[tuple[Node, Attempt]], settled: list[Node]
    ) -> None:
        entries: list[dict[str, Any]] = [
            {"started": {"task": node.task.id, "worker": node.door.worker_id, "at_s": node.started_s}}
            for node in begun
            if node.status is None
        ]
        entries += [
            {"called": {"task": node.task.id, "attempt": attempt.__dict__}}
            for node, attempt in failed
            if node.status is None  # else the task's end says it
        ]
        entries += [{"ended": node.task_run().__dict__} for node in settled]  # as it is: `model_dump` takes far longer
        if not entries:
            return
        try:
            journal.write(entries)
        except BaseException:
            self._journal = None  # what could not be written once is not tried again; the run ends
            raise

    def _publish(self, node: Node) -> None:
        """What has ended becomes visible: to the listener, and to those who wait for it."""
        self._left -= 1
        assert node.status is not None
        if self._on_event is not None:
            self.tell(_EVENT_OF[node.status], task=node.task, task_run=node.task_run())
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
                self._settle(dependent, "skipped", error=cause)
                todo.extend(dependent.dependents)
