"""Runs a workflow: each task starts as soon as what it depends on is done, and every task ends in exactly one state."""

from __future__ import annotations

import asyncio
import collections
import datetime
import logging
import pathlib
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Literal

from orchestai_jax.config import Preference
from orchestai_jax.execution.events import Event, EventKind
from orchestai_jax.execution.limits import Slots, worker_limits
from orchestai_jax.execution.preflight import check_run
from orchestai_jax.execution.values import BadValueError, check_output, resolve_arguments
from orchestai_jax.workers import Output, Worker, WorkerContext, WorkerError
from orchestai_jax.workflow import Catalog, RunRecord, Task, TaskRun, Workflow, predecessors

_log = logging.getLogger(__name__)

TaskStatus = Literal["succeeded", "failed", "skipped", "cancelled"]

_EVENT_OF: dict[TaskStatus, EventKind] = {
    "succeeded": "finished",
    "failed": "failed",
    "skipped": "skipped",
    "cancelled": "cancelled",
}


async def execute(
    workflow: Workflow,
    catalog: Catalog,
    workers: Mapping[str, Worker],
    *,
    root: str | pathlib.Path,
    output_folder: str | pathlib.Path,
    max_concurrency: int = 4,
    on_event: Callable[[Event], None] | None = None,
    planner_info: Mapping[str, Any] | None = None,
    preference: Preference | None = None,
    run_id: str | None = None,
) -> RunRecord:
    """Run a workflow to its end and return the record of it.

    A failed task is terminal: what depends on it is skipped with the cause, what does not goes on. The run has
    `succeeded` when every task has, is `partial` when only some have, else it has `failed`.

    Cancelling (Ctrl-C under `asyncio.run`, or `Task.cancel`) stops the workers, keeps the results that are there and
    tells `on_event` `ended` with the record, status `cancelled`; then the `CancelledError` goes on to the caller. A
    tool in a thread cannot be stopped: its result is dropped, and the thread ends with its call.

    Args:
        workflow: the plan; every task has its worker.
        catalog: the task types and workers that it is made of.
        workers: worker id to the worker itself.
        root: the folder that files are read inside.
        output_folder: the folder, inside `root` (and relative to it, unless absolute), that files are written under;
            it is made where missing.
        max_concurrency: how many tasks may run at once, at least 1; the limits of each worker hold beside it. Tools
            that run in threads take them from the event loop's default executor, which bounds them too.
        on_event: is told every change of state, in order, on the event loop's thread: it should be quick. An error of
            its own stops the run like a cancellation and is raised after `ended`.
        planner_info: which planner made the workflow; kept in the record.
        preference: the balance that the workers were chosen under; kept in the record.
        run_id: the record's id; made from the time where not given.

    Raises:
        WorkflowError: the workflow is not valid. Nothing has started.
        RunRefusedError: workers or files are missing, or a folder is out of place. Nothing has started.
        ValueError: `max_concurrency` is below 1.
        asyncio.CancelledError: the run was cancelled.
    """
    if max_concurrency < 1:
        raise ValueError(f"max_concurrency is {max_concurrency}; it must be at least 1")
    root = pathlib.Path(root).resolve()
    output_folder = (root / output_folder).resolve()
    check_run(workflow, catalog, workers, root, output_folder)
    output_folder.mkdir(parents=True, exist_ok=True)
    run = _Run(workflow, catalog, workers, root, output_folder, max_concurrency, on_event)
    created = datetime.datetime.now(datetime.UTC)

    def record() -> RunRecord:
        runs = tuple(run.ended[task.id] for task in workflow.tasks)
        return RunRecord(
            run_id=run_id or new_run_id(created),
            instruction=workflow.instruction,
            created=created.isoformat(timespec="milliseconds"),
            planner=dict(planner_info or {}),
            preference=preference.weights if preference is not None else None,
            workflow=workflow,
            tasks=runs,
            status=_status(runs),
            duration_s=run.clock(),
            cost=sum(r.cost for r in runs),
        )

    try:
        await run.to_the_end()
    except BaseException:
        try:
            run.cancel_the_rest()
        finally:
            run.tell("ended", record=record())
        raise
    whole = record()
    run.tell("ended", record=whole)
    return whole


def new_run_id(at: datetime.datetime | None = None) -> str:
    """An id that sorts by time and never repeats, such as `20250131-120000-1f3a9c`."""
    at = at or datetime.datetime.now(datetime.UTC)
    return f"{at:%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:6]}"


def _status(runs: tuple[TaskRun, ...]) -> Literal["succeeded", "partial", "failed", "cancelled"]:
    statuses = {run.status for run in runs}
    if "cancelled" in statuses:
        return "cancelled"
    if statuses == {"succeeded"}:
        return "succeeded"
    return "partial" if "succeeded" in statuses else "failed"


class _Run:
    """The state of one run. All of it is touched on the event loop's thread only."""

    def __init__(
        self,
        workflow: Workflow,
        catalog: Catalog,
        workers: Mapping[str, Worker],
        root: pathlib.Path,
        output_folder: pathlib.Path,
        max_concurrency: int,
        on_event: Callable[[Event], None] | None,
    ) -> None:
        self.ended: dict[str, TaskRun] = {}
        """Task id to how it ended; an entry is written once."""
        self._workflow, self._catalog, self._workers = workflow, catalog, workers
        self._root, self._output_folder = root, output_folder
        self._on_event = on_event
        self._listener_broke = False
        self._began = time.perf_counter()
        self._tasks = {task.id: task for task in workflow.tasks}
        self._outputs: dict[str, Mapping[str, Any]] = {}
        self._limits = {
            name: worker_limits(name, catalog, workers) for name in {str(task.worker) for task in workflow.tasks}
        }
        self._slots = Slots(max_concurrency, self._limits)
        self._waits_for = {task.id: set(predecessors(task)) for task in workflow.tasks}
        self._wakes: dict[str, list[str]] = collections.defaultdict(list)
        for task_id, producers in self._waits_for.items():
            for producer in producers:
                self._wakes[producer].append(task_id)

    def clock(self) -> float:
        """Seconds since the run began."""
        return time.perf_counter() - self._began

    def tell(self, kind: EventKind, **what: Any) -> None:
        """Hand the listener an event. One that has raised is told nothing more but `ended`, which brings the record."""
        if self._on_event is None or (self._listener_broke and kind != "ended"):
            return
        try:
            self._on_event(Event(kind=kind, at_s=self.clock(), workflow=self._workflow, **what))
        except BaseException:
            self._listener_broke = True
            raise

    async def to_the_end(self) -> None:
        """Run every task that can run. Raises what the listener raised, or CancelledError."""
        self.tell("planned")
        try:
            async with asyncio.TaskGroup() as group:
                for task_id in [task_id for task_id, producers in self._waits_for.items() if not producers]:
                    self._start(group, task_id)
        except BaseExceptionGroup as errors:
            # Workers' errors become failed tasks, so what is left is the listener's own (or a fault of this file).
            raise errors.exceptions[0] from errors.exceptions[0].__cause__

    def cancel_the_rest(self) -> None:
        """Give every task that has not ended the state `cancelled`, and tell of it when all of them have it."""
        rest = [task_id for task_id in self._tasks if task_id not in self.ended]
        for task_id in rest:
            self._keep(task_id, "cancelled", error="the run was cancelled before this task could end")
        for task_id in rest:
            self.tell("cancelled", task=self._tasks[task_id], task_run=self.ended[task_id])

    def _start(self, group: asyncio.TaskGroup, task_id: str) -> None:
        group.create_task(self._run_task(group, self._tasks[task_id]), name=f"workflow task {task_id}")

    async def _run_task(self, group: asyncio.TaskGroup, task: Task) -> None:
        async with self._slots.place(str(task.worker)):
            started = self.clock()
            self.tell("started", task=task)
            try:
                output = await self._call(task)
            except asyncio.CancelledError:
                self._end(task.id, "cancelled", started, error="the run was cancelled while this task ran")
                raise
            except (WorkerError, BadValueError) as error:
                self._end(task.id, "failed", started, error=_one_line(str(error)))
            except Exception as error:  # noqa: BLE001 - any error of a worker ends its task, never the run
                _log.warning("worker %s broke on task %s", task.worker, task.id, exc_info=True)
                self._end(task.id, "failed", started, error=_one_line(f"{type(error).__name__}: {error}"))
            else:
                self._end(task.id, "succeeded", started, output=output)
        if _being_cancelled():
            return  # a worker that finished in spite of being cancelled: its result is kept, nothing new is started
        if self.ended[task.id].status == "succeeded":
            self._wake_dependents(group, task.id)
        else:
            self._skip_dependents(task.id)

    async def _call(self, task: Task) -> Output:
        """The checked output of a task's worker, within the worker's time limit."""
        worker_id, task_type = str(task.worker), self._catalog.task_type(task.task_type)
        arguments = resolve_arguments(task, self._outputs)
        context = WorkerContext(root=self._root, output_folder=self._output_folder, task_id=task.id)
        seconds = self._limits[worker_id].timeout_s
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                output = await self._workers[worker_id].run(task_type, arguments, context)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise WorkerError(f"worker {worker_id} took longer than its limit of {seconds:g} s") from error
        except asyncio.CancelledError as error:
            if _being_cancelled():
                raise
            # Passed on, this would end the task without a state, and its dependents would wait for ever.
            raise WorkerError(f"worker {worker_id} cancelled its own work") from error
        return check_output(output, task_type, self._root)

    def _wake_dependents(self, group: asyncio.TaskGroup, task_id: str) -> None:
        for dependent in self._wakes[task_id]:
            self._waits_for[dependent].discard(task_id)
            if not self._waits_for[dependent]:
                self._start(group, dependent)

    def _skip_dependents(self, task_id: str) -> None:
        """End everything that depends on a failed task, near or far. None of it can have started."""
        cause = f"task {task_id} failed: {self.ended[task_id].error}"
        todo = collections.deque(self._wakes[task_id])
        while todo:
            dependent = todo.popleft()
            if dependent not in self.ended:
                self._end(dependent, "skipped", None, error=cause)
                todo.extend(self._wakes[dependent])

    def _end(self, task_id: str, status: TaskStatus, started: float | None, **how: Any) -> None:
        """Write a task's final state and tell of it."""
        self._keep(task_id, status, started, **how)
        self.tell(_EVENT_OF[status], task=self._tasks[task_id], task_run=self.ended[task_id])

    def _keep(
        self,
        task_id: str,
        status: TaskStatus,
        started: float | None = None,
        *,
        output: Output | None = None,
        error: str | None = None,
    ) -> None:
        """Write a task's only final state. `started` is None for a task that never ran."""
        if task_id in self.ended:
            raise RuntimeError(f"task {task_id} has ended as {self.ended[task_id].status} and ends again as {status}")
        now, task, output = self.clock(), self._tasks[task_id], output or Output(values={})
        self.ended[task_id] = TaskRun(
            task=task_id,
            task_type=task.task_type,
            worker=task.worker,
            status=status,
            started_s=now if started is None else started,
            duration_s=0.0 if started is None else now - started,
            cost=output.cost,
            tokens=output.tokens,
            error=error,
            outputs=dict(output.values),
        )
        self._outputs[task_id] = output.values


def _being_cancelled() -> bool:
    """Whether somebody asked the current asyncio task to stop."""
    current = asyncio.current_task()
    return current is not None and current.cancelling() > 0


def _one_line(message: str, at_most: int = 500) -> str:
    """A message on one line, not too long for a terminal or a record."""
    line = " ".join(message.split()) or "no reason was given"
    return line if len(line) <= at_most else line[: at_most - 3] + "..."
