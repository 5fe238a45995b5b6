"""One run: starts what is ready, sees it through, and stops all of it when it has to end.

Everything happens on the event loop's thread.
"""

from __future__ import annotations

import asyncio
import collections
import contextvars
import time
from collections.abc import Callable, Sequence
from typing import Any

from orchestai_jax.execution._calls import Calls
from orchestai_jax.execution._listener import Listener
from orchestai_jax.execution._node import Door, Doors, Node, make_nodes, rank
from orchestai_jax.execution._places import BURST, Places
from orchestai_jax.execution._settling import Settling
from orchestai_jax.execution._spending import Spending
from orchestai_jax.execution.attempts import being_cancelled, carry_out, leave_behind, note
from orchestai_jax.execution.events import Event, EventKind
from orchestai_jax.execution.failures import CallFailed, one_line
from orchestai_jax.execution.journal import Journal
from orchestai_jax.execution.order import RunOrder
from orchestai_jax.execution.ranking import other_workers
from orchestai_jax.execution.tracing import Tracer
from orchestai_jax.execution.values import BadValueError
from orchestai_jax.workers import Output
from orchestai_jax.workflow import Attempt, TaskRun


class _Load:
    """Tasks that one asyncio task carries."""

    __slots__ = ("carrier", "relieved", "tasks")

    def __init__(self) -> None:
        self.tasks: collections.deque[Node] = collections.deque()
        self.carrier: asyncio.Task[None]
        self.relieved = False
        """Whether the carrier's turn of the loop is over: it waits, or has waited."""


class Run:
    """One run, from its first task to its last."""

    def __init__(
        self,
        order: RunOrder,
        *,
        on_event: Callable[[Event], None] | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        self._order, self._tracer = order, tracer
        self._began = time.perf_counter() - order.clock_s
        self._listener = Listener(on_event, order.workflow, self.clock)
        self._doors = Doors(order.catalog, order.workers, order.policies, order.gates)
        self._nodes = make_nodes(order.workflow, order.catalog, self._doors)
        self._spending = Spending(order.policies.budget)
        self._calls = Calls(order, self._spending, self._tell_chunk if self._listener.listens else None)
        self._places = Places(
            order.max_concurrency, self._spending, self._launch, self._refuse, self._soon, self._break
        )
        self._settling = Settling(
            len(self._nodes), self._places, self._listener, self.clock, self._soon, self._all_done, self._break
        )
        self._running: dict[Node, asyncio.Task[None]] = {}
        self._left_behind = False
        """Whether a call did not stop when it was told to."""
        self._committing: _Load | None = None
        """The load whose carrier commits what it has carried: what is launched meanwhile comes on it."""
        self._late: str | None = None
        """Set when the deadline has passed: what those that it stopped are told."""
        self._loop: asyncio.AbstractEventLoop
        self._context: contextvars.Context
        """The run's own: what is started from within a task must not come under that task's span."""
        self._over: asyncio.Future[None]

    def keep_in(self, journal: Journal | None) -> None:
        """Write down what is done in this journal; without one, nowhere."""
        self._settling.journal = journal

    def clock(self) -> float:
        """Seconds since the run began, without those between a kill and the resumption."""
        return time.perf_counter() - self._began

    @property
    def journal_is_whole(self) -> bool:
        """Whether everything was written to the journal."""
        return self._settling.journal is not None

    @property
    def task_runs(self) -> tuple[TaskRun, ...]:
        """How every task ended, in the workflow's order; all of them have."""
        return tuple([node.task_run() for node in self._nodes])

    def forget(self) -> None:
        """Let go of what holds one another: else all of it is there until the collector finds it. The last call."""
        for node in self._nodes:
            node.dependents = ()
        self._nodes = []
        if not self._left_behind:  # calls that were left behind may yet end, and tell
            del self._calls, self._listener, self._places, self._settling

    # From the first task to the last

    async def to_the_end(self) -> None:
        """Run every task that can run. Raises what a listener or the journal raised, or CancelledError."""
        self._loop, self._context = asyncio.get_running_loop(), contextvars.copy_context()
        self._over = self._loop.create_future()
        deadline = self._order.policies.budget.deadline_s
        timers = []
        try:
            self.tell("planned")
            if self._order.resumed:
                self._take_in_what_is_finished()
            if deadline is not None and self.clock() < deadline:
                timers.append(self._loop.call_later(max(0.0, deadline - self.clock()), self._deadline_has_passed))
            if self._order.max_concurrency < len(self._nodes) or self._doors.limited:
                rank(self._nodes)
            for node in self._nodes:
                if not node.waits_for and node.status is None:
                    self._places.push(node)
            if self._settling.left:
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
            self._settling.commit(at_the_end=True)

    def cancel_the_rest(self) -> None:
        """Give every task that has not ended the state `cancelled`, and tell of it when all of them have it."""
        for node in self._nodes:
            self._settling.settle(node, "cancelled", error="the run was cancelled before this task could end")
        self._settling.commit(at_the_end=True)

    def _take_in_what_is_finished(self) -> None:
        """Of a resumption: the tasks whose outputs are in the journal count as done."""
        for node in self._nodes:
            run = self._order.finished.get(node.task.id)
            if run is None:
                node.earlier = self._order.failed_calls.get(node.task.id, ())
                self._spending.spent(sum(attempt.cost for attempt in node.earlier))
                continue
            node.take_in(run)
            self._spending.spent(run.cost)
            self._settling.keep(node)
            self.tell("kept", task=node.task, task_run=run)

    def _all_done(self) -> None:
        if not self._over.done():
            self._over.set_result(None)

    def _break(self, error: BaseException) -> None:
        """End the run with an error of a listener's or the journal's."""
        if not self._over.done():
            self._over.set_exception(error)

    # Its end before the last task

    def _deadline_has_passed(self) -> None:
        self._late = f"the run's deadline of {self._order.policies.budget.deadline_s:g} s has passed"
        self._places.close()
        for node in self._nodes:
            if not node.launched:
                self._settling.settle(node, "skipped", error=self._late)
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
            self._left_behind = True
            leave_behind(node.door.worker_id, task)
            self._settle_stopped(node)

    def _settle_stopped(self, node: Node) -> None:
        if not node.begun:
            status = "cancelled" if self._late is None else "skipped"
            error = self._late or "the run was cancelled before this task could end"
            self._settling.settle(node, status, error=error)
        elif self._late is not None:
            self._settling.settle(node, "failed", error=f"{self._late} while this task ran")
        else:
            self._settling.settle(node, "cancelled", error="the run was cancelled while this task ran")

    # Starting tasks

    def _launch(self, batch: list[Node]) -> None:
        """Start tasks. One asyncio task carries them one after the other, as long as they end without ever waiting: an
        asyncio task costs more than all else that is done for such a task. The first that waits leaves the rest to
        asyncio tasks of their own, which start in the same turn of the loop.
        """
        if self._tracer is not None:
            self._launch_apart(batch)
            return
        load = self._committing
        if load is None:
            load = _Load()
            load.carrier = self._loop.create_task(self._carry(load))
            self._soon(self._relieve, load)
        load.tasks.extend(batch)
        for node in batch:
            self._running[node] = load.carrier

    async def _carry(self, load: _Load) -> None:
        """Carry what is on the load. When all of it has ended in one go, it is committed at once, and what becomes
        ready by that comes on the load as well, up to a burst: then others have their turn."""
        carried = 0
        while load.tasks and not self._places.closed:
            await self._perform(load.tasks.popleft())
            carried += 1
            if not load.tasks and not load.relieved and carried < BURST:
                self._committing = load
                try:
                    self._settling.commit()
                finally:
                    self._committing = None
        while load.tasks:  # the run is being stopped
            node = load.tasks.popleft()
            self._running.pop(node, None)
            self._settle_stopped(node)

    def _relieve(self, load: _Load) -> None:
        """What a carrier has not come to starts by itself."""
        load.relieved = True
        if not load.tasks or self._places.closed:
            return  # where the run is being stopped they are stopped with their carrier
        rest = list(load.tasks)
        load.tasks.clear()
        self._launch_apart(rest)

    def _launch_apart(self, batch: list[Node]) -> None:
        for node in batch:
            work = self._perform(node)
            self._running[node] = self._loop.create_task(
                work if self._tracer is None else self._tracer.traced(node, work)
            )

    def _refuse(self, node: Node, reason: str) -> None:
        self._settling.settle(node, "skipped", error=reason)

    def _soon(self, callback: Callable[..., None], *arguments: Any) -> None:
        self._loop.call_soon(callback, *arguments, context=self._context)

    # One task

    async def _perform(self, node: Node) -> None:
        """A task from its first call to its end."""
        try:
            node.begun = True
            node.started_s = self.clock()
            if self._listener.listens:
                self.tell("started", task=node.task)
            self._settling.begin(node)
            node.values = node.arguments(self._order.root)
            failure = None
            if node.door.plain:
                try:
                    output = await self._calls.call(node)
                except CallFailed as error:
                    failure = error
                    note(self, node, node.started_s, failure)
                    if being_cancelled():
                        raise asyncio.CancelledError from failure
                    failure.let_go()
                    self.release(node)
                else:
                    if node.earlier:
                        note(self, node, node.started_s, output)
                    self._settling.settle(node, "succeeded", output=output)
                    return
            output = await carry_out(self, node, failure)
        except asyncio.CancelledError:
            self._settle_stopped(node)
            raise
        except BadValueError as error:  # what an earlier task gave is no argument for this one, whoever does it
            self._settling.settle(node, "failed", error=one_line(str(error)))
        except CallFailed as error:
            error.let_go()
            self._settling.settle(node, "failed", error=str(error))
        except Exception as error:  # noqa: BLE001 - the listener's: it ends the run and is raised there
            self._break(error)
        except BaseException:  # an interrupt, which asyncio hands to whoever runs the loop
            self._running[node].add_done_callback(asyncio.Task.exception)  # seen
            raise
        else:
            self._settling.settle(node, "succeeded", output=output)
        finally:
            self._running.pop(node, None)

    # What its attempts need of the run (`attempts.Host`)

    def tell(self, kind: EventKind, **what: Any) -> None:
        """Tell the listener."""
        self._listener.tell(kind, **what)

    async def call(self, node: Node) -> Output:
        """Call the node's worker once and check its output. Raises CallFailed."""
        return await self._calls.call(node)

    async def place(self, node: Node) -> None:
        """Wait for a place of the worker's and one of the run's."""
        await self._places.place(node)

    def release(self, node: Node) -> None:
        """Give both back."""
        self._places.release(node)

    def write_down(self, node: Node, failed: Attempt) -> None:
        """Keep a call that failed."""
        self._settling.write_down(node, failed)

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
