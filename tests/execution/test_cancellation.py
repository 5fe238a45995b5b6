"""Cancelling a run: workers stop, results stay, the record comes, the cancellation goes on to the caller."""

import asyncio

import pytest

from orchestai_jax.execution import execute
from orchestai_jax.workers import Output
from orchestai_jax.workflow import append_record, read_records


def run_bounded(scenario):
    """Runs a scenario; one that hangs is stopped by a time far above what any needs."""

    async def bounded():
        async with asyncio.timeout(30):
            return await scenario()

    return asyncio.run(bounded())


def start(make, tmp_path, workflow, worker, listen, **options):
    return asyncio.create_task(
        execute(
            workflow,
            make.catalog(worker),
            {"w": worker},
            root=tmp_path,
            output_folder="out",
            on_event=listen,
            **options,
        )
    )


def test_cancel_keeps_results_and_writes_the_record(make, tmp_path):
    stopped = []

    async def work(task_type, arguments, context):
        if context.task_id == "running":
            try:
                await asyncio.Event().wait()
            finally:
                stopped.append("running")
        return Output(values={"value": context.task_id}, cost=0.25)

    async def scenario():
        events, running, done = [], asyncio.Event(), asyncio.Event()

        def listen(event):
            events.append(event)
            if event.record is not None:
                append_record(tmp_path / "records.jsonl", event.record)
            if event.kind == "started" and event.task.id == "running":
                running.set()
            if event.kind == "finished":
                done.set()

        workflow = make.plan(make.step("first"), make.step("running", "first"), make.step("later", "running"))
        run = start(make, tmp_path, workflow, make.worker(work), listen)
        await running.wait()
        await done.wait()
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        return events

    events = run_bounded(scenario)
    assert stopped == ["running"]
    [record], problems = read_records(tmp_path / "records.jsonl")
    assert not problems
    assert record == events[-1].record
    assert record.status == "cancelled"
    assert [run.status for run in record.tasks] == ["succeeded", "cancelled", "cancelled"]
    assert record.tasks[0].outputs == {"value": "first"}
    assert record.tasks[1].error == "the run was cancelled while this task ran"
    assert record.tasks[2].error == "the run was cancelled before this task could end"
    assert record.cost == 0.25
    assert [e.kind for e in events] == ["planned", "started", "finished", "started", "cancelled", "cancelled", "ended"]


def test_cancel_reaches_tasks_that_wait_for_a_place(make, tmp_path):
    async def work(task_type, arguments, context):
        await asyncio.Event().wait()

    async def scenario():
        events, running = [], asyncio.Event()

        def listen(event):
            events.append(event)
            if event.kind == "started":
                running.set()

        workflow = make.plan(*(make.step(f"t{i}") for i in range(4)))
        run = start(make, tmp_path, workflow, make.worker(work), listen, max_concurrency=1)
        await running.wait()
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        return events[-1].record

    record = run_bounded(scenario)
    assert {run.status for run in record.tasks} == {"cancelled"}


def test_a_worker_that_finishes_in_spite_of_it_keeps_its_result(make, tmp_path):
    async def stubborn(task_type, arguments, context):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return Output(values={"value": "saved"})

    async def scenario():
        events, running = [], asyncio.Event()

        def listen(event):
            events.append(event)
            if event.kind == "started":
                running.set()

        workflow = make.plan(make.step("first"), make.step("second", "first"))
        run = start(make, tmp_path, workflow, make.worker(stubborn), listen)
        await running.wait()
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        return events[-1].record

    record = run_bounded(scenario)
    assert [run.status for run in record.tasks] == ["succeeded", "cancelled"]
    assert record.tasks[0].outputs == {"value": "saved"}
    assert record.status == "cancelled"


@pytest.mark.parametrize("kind", ["planned", "started", "finished"])
def test_a_broken_listener_ends_the_run_with_its_own_error_and_still_gets_the_record(make, tmp_path, kind):
    events = []

    def listen(event):
        events.append(event)
        if event.kind == kind:
            raise BrokenPipeError("nobody reads")

    worker = make.worker()

    async def scenario():
        await start(make, tmp_path, make.plan(make.step("a"), make.step("b", "a")), worker, listen)

    with pytest.raises(BrokenPipeError, match="nobody reads"):
        run_bounded(scenario)
    assert [e.kind for e in events[-2:]] == [kind, "ended"]  # it is not asked again in between
    assert events[-1].record.status == "cancelled"
    assert [run.task for run in events[-1].record.tasks] == ["a", "b"]


def test_an_interrupt_inside_a_worker_still_brings_the_record(make, tmp_path):
    async def interrupted(task_type, arguments, context):
        raise KeyboardInterrupt

    events = []

    async def scenario():
        await start(make, tmp_path, make.plan(make.step("a"), make.step("b")), make.worker(interrupted), events.append)

    with pytest.raises(KeyboardInterrupt):
        run_bounded(scenario)
    assert events[-1].record.status == "cancelled"


def test_tasks_whose_turn_has_not_come_end_at_once_where_their_carrier_is_slow_to_stop(make, tmp_path, caplog):
    """Tasks started together share an asyncio task; one that swallows its cancellation brings no other to begin."""
    begun = []

    async def work(task_type, arguments, context):
        begun.append(context.task_id)
        run.cancel()  # before the others have been given tasks of their own
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            for _ in range(20):  # takes several turns to stop
                await asyncio.sleep(0)
        return Output(values={"value": 1})

    events = []
    run: asyncio.Task

    async def scenario():
        nonlocal run
        workflow = make.plan(*(make.step(f"t{i}") for i in range(3)))
        run = start(make, tmp_path, workflow, make.worker(work), events.append)
        with pytest.raises(asyncio.CancelledError):
            await run

    run_bounded(scenario)
    record = events[-1].record
    assert begun == ["t0"]
    assert [r.status for r in record.tasks] == ["succeeded", "cancelled", "cancelled"]
    assert record.tasks[1].error == "the run was cancelled before this task could end"
    assert "does not stop" not in caplog.text
