"""Runs a workflow: each task starts as soon as what it depends on is done, and every task ends in exactly one state."""

from __future__ import annotations

import contextlib
import datetime
import os
import pathlib
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Literal

from orchestai_jax.config import Preference
from orchestai_jax.execution._collector import rare_collections
from orchestai_jax.execution._run import Run
from orchestai_jax.execution.events import Event
from orchestai_jax.execution.gates import Gates
from orchestai_jax.execution.journal import FileJournal, Journal, JournalState, sync_folder
from orchestai_jax.execution.lost_files import forget_lost
from orchestai_jax.execution.order import RunOrder
from orchestai_jax.execution.policies import BudgetPolicy, RunPolicies
from orchestai_jax.execution.preflight import check_run
from orchestai_jax.execution.tracing import Tracer
from orchestai_jax.workers import Worker
from orchestai_jax.workflow import Catalog, RunRecord, TaskRun, Workflow, append_record

_DEFAULT_POLICIES = RunPolicies()


async def execute(
    workflow: Workflow,
    catalog: Catalog,
    workers: Mapping[str, Worker],
    *,
    root: str | pathlib.Path,
    output_folder: str | pathlib.Path,
    max_concurrency: int = 4,
    policies: RunPolicies | None = None,
    on_event: Callable[[Event], None] | None = None,
    journal: Journal | str | pathlib.Path | None = None,
    records: str | pathlib.Path | None = None,
    gates: Gates | None = None,
    tracer: Tracer | None = None,
    planner_info: Mapping[str, Any] | None = None,
    preference: Preference | None = None,
    run_id: str | None = None,
    fsync: bool = False,
) -> RunRecord:
    """Run a workflow to its end and return the record of it.

    A task whose worker fails is tried again and by others as `policies` say. When nobody can do it, that is final: what
    depends on it is skipped with the cause, what does not goes on. The run has `succeeded` when every task has, is
    `partial` when only some have, else it has `failed`.

    Cancelling (Ctrl-C under `asyncio.run`, or `Task.cancel`) stops the workers, keeps the results that are there,
    writes the record and tells `on_event` `ended` with it, status `cancelled`; then the `CancelledError` goes on to the
    caller. A tool in a thread cannot be stopped: its result is dropped, and the thread ends with its call.

    Args:
        workflow: the plan; every task has its worker.
        catalog: the task types and workers that it is made of.
        workers: worker id to the worker itself.
        root: the folder that files are read inside.
        output_folder: the folder, inside `root` (and relative to it, unless absolute), that files are written under;
            it is made where missing.
        max_concurrency: how many tasks may run at once, at least 1; the limits of each worker hold beside it. Tools
            that run in threads take them from the event loop's default executor, which bounds them too.
        policies: retries, time limits, rates, breakers, other workers, budget; the defaults where not given.
        on_event: is told every change of state, in order, on the event loop's thread: it should be quick. An error of
            its own stops the run like a cancellation and is raised after `ended`.
        journal: a folder, in which the run keeps what it has done in `RUN_ID.jsonl`, so that `resume` can go on after a
            kill; the file is removed when every task has succeeded and the record is written. Or a journal of your
            own. None = a run that is killed leaves nothing.
        records: the file that the record is appended to, before `ended` is told; None = none.
        gates: shared by runs that are to share the workers' limits; None = limits for this run alone.
        tracer: makes OpenTelemetry spans; None = none.
        planner_info: which planner made the workflow; kept in the record.
        preference: the balance that the workers were chosen under; it also ranks those that take over. Kept in the
            record.
        run_id: the record's id; made from the time where not given.
        fsync: force the lines of the journal in its folder, and the record, to the disk: they then outlive a loss of
            power, at the price of about a millisecond a write. A resumption of the run does the same.

    Raises:
        WorkflowError: the workflow is not valid. Nothing has started.
        RunRefusedError: workers or files are missing, or a folder is out of place. Nothing has started.
        JournalError: there is a journal of that run id already. Nothing has started.
        ValueError: `max_concurrency` is below 1, or `gates` are shared under other limits. Nothing has started.
        OSError: the journal or the record could not be written; the run has ended.
        asyncio.CancelledError: the run was cancelled.
    """
    created = datetime.datetime.now(datetime.UTC)
    root = pathlib.Path(root).resolve()
    order = RunOrder(
        run_id=run_id or new_run_id(created),
        created=created,
        workflow=workflow,
        catalog=catalog,
        workers=workers,
        root=root,
        output_folder=(root / output_folder).resolve(),
        max_concurrency=max_concurrency,
        policies=policies or _DEFAULT_POLICIES,
        planner=planner_info or {},
        preference=preference,
        gates=gates,
        fsync=fsync,
    )
    with rare_collections(len(order.workflow.tasks)):
        _check(order)
        run = Run(order, on_event=on_event, tracer=tracer)
        if isinstance(journal, str | os.PathLike):
            journal = FileJournal.create(journal, order.header())
        return await _carry_out(order, run, journal, records=records, tracer=tracer)


async def resume(
    run_id: str,
    workers: Mapping[str, Worker],
    *,
    journal: str | pathlib.Path,
    on_event: Callable[[Event], None] | None = None,
    records: str | pathlib.Path | None = None,
    gates: Gates | None = None,
    tracer: Tracer | None = None,
    budget: BudgetPolicy | None = None,
) -> RunRecord:
    """Go on with a run that was killed or cancelled, or that did not succeed: finished tasks are not run again.

    A task is finished when its output is in the journal, and the files that it names are there. Everything else runs,
    what failed or was skipped among it, under the limits and policies of the first time; the run's clock goes on from
    where it stood. What a task that lost its files has cost stays spent.

    Args:
        run_id: the run.
        workers: worker id to the worker itself.
        journal: the folder that the run's journal is in.
        on_event: as in `execute`; it is told `kept` for every task that is finished.
        records: as in `execute`. The record has the run's id and all its tasks.
        gates: as in `execute`.
        tracer: as in `execute`.
        budget: what the run may use from here on; the fields that are given take the place of its first ones, counted
            as those were: dollars from the run's beginning, seconds of its clock. None = the same as before.

    Raises:
        ValueError: `gates` are shared under other limits.
        JournalBusyError: the run is running.
        JournalError: there is no such journal, or it is damaged.
        RunRefusedError: workers or files that the rest needs are missing.
        OSError, asyncio.CancelledError: as in `execute`.
    """
    file, state = FileJournal.reopen(journal, run_id)
    try:
        if budget is not None:
            state.rebudget(budget.model_dump(exclude_unset=True))
        lost = forget_lost(state)
        order = _order_of(state, workers, gates)
        _check(order)
        run = Run(order, on_event=on_event, tracer=tracer)
        entry: dict[str, Any] = {"at": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")}
        if budget is not None:
            entry["budget"] = budget.model_dump(exclude_unset=True)
        file.write([{"resumed": entry}, *lost])
    except BaseException:
        file.close()
        raise
    with rare_collections(len(order.workflow.tasks)):
        return await _carry_out(order, run, file, records=records, tracer=tracer)


def new_run_id(at: datetime.datetime | None = None) -> str:
    """An id that sorts by time and never repeats, such as `20250131-120000-1f3a9c`."""
    at = at or datetime.datetime.now(datetime.UTC)
    return f"{at:%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:6]}"


def _check(order: RunOrder) -> None:
    if order.max_concurrency < 1:
        raise ValueError(f"max_concurrency is {order.max_concurrency}; it must be at least 1")
    check_run(order.workflow, order.catalog, order.workers, order.root, order.output_folder, order.finished)
    if not order.output_folder.is_dir():
        order.output_folder.mkdir(parents=True, exist_ok=True)


def _order_of(state: JournalState, workers: Mapping[str, Worker], gates: Gates | None) -> RunOrder:
    header = state.header
    weights = header.preference
    return RunOrder(
        run_id=header.run_id,
        created=datetime.datetime.fromisoformat(header.created),
        workflow=header.workflow,
        catalog=header.catalog,
        workers=workers,
        root=pathlib.Path(header.root).resolve(),
        output_folder=pathlib.Path(header.output_folder).resolve(),
        max_concurrency=header.max_concurrency,
        policies=header.policies,
        planner=header.planner,
        preference=None if weights is None else Preference(success=weights[0], cost=weights[1], latency=weights[2]),
        gates=gates,
        finished=state.finished,
        failed_calls=state.failed_calls,
        clock_s=state.clock_s,
        resumed=state.resumed + 1,
        fsync=header.fsync,
    )


async def _carry_out(
    order: RunOrder,
    run: Run,
    journal: Journal | None,
    *,
    records: str | pathlib.Path | None,
    tracer: Tracer | None,
) -> RunRecord:
    file = journal if isinstance(journal, FileJournal) else None
    try:
        run.keep_in(journal)
        try:
            with contextlib.nullcontext() if tracer is None else tracer.run(order):
                await run.to_the_end()
        except BaseException:
            try:
                run.cancel_the_rest()
            finally:
                _end(order, run, file, records)
            raise
        return _end(order, run, file, records)
    finally:
        run.forget()
        if file is not None:
            file.close()


def _end(order: RunOrder, run: Run, file: FileJournal | None, records: str | pathlib.Path | None) -> RunRecord:
    """Write the record, close the journal, tell the listener."""
    record = _record(order, run)
    try:
        if records is not None:
            append_record(records, record, fsync=order.fsync)
            if order.fsync:
                sync_folder(pathlib.Path(records).parent)
        if file is not None and run.journal_is_whole:
            if record.status == "succeeded" and records is not None:
                file.remove()
            else:
                file.write([{"over": {"status": record.status, "at_s": record.duration_s}}])
    finally:
        run.tell("ended", record=record)
    return record


def _record(order: RunOrder, run: Run) -> RunRecord:
    runs = run.task_runs
    return RunRecord(
        run_id=order.run_id,
        instruction=order.workflow.instruction,
        created=order.created.isoformat(timespec="milliseconds"),
        planner=dict(order.planner),
        preference=order.preference.weights if order.preference is not None else None,
        workflow=order.workflow,
        tasks=runs,
        status=_status(runs),
        duration_s=run.clock(),
        cost=sum(r.cost for r in runs),
        tokens=sum(r.tokens for r in runs),
        resumed=order.resumed,
        settings=order.settings(),
    )


def _status(runs: tuple[TaskRun, ...]) -> Literal["succeeded", "partial", "failed", "cancelled"]:
    statuses = {run.status for run in runs}
    if "cancelled" in statuses:
        return "cancelled"
    if statuses == {"succeeded"}:
        return "succeeded"
    return "partial" if "succeeded" in statuses else "failed"
