"""A run as a stream of events."""

import asyncio

import pytest

from orchestai_jax.execution import RunRefusedError, execute, stream
from orchestai_jax.workers import Output, WorkerError
from orchestai_jax.workflow import read_records


def run_bounded(scenario):
    async def bounded():
        async with asyncio.timeout(30):
            return await scenario()

    return asyncio.run(bounded())


def open_stream(make, tmp_path, workflow, worker, **options):
    return stream(
        execute,
        workflow,
        make.catalog(worker),
        {"w": worker},
        root=tmp_path,
        output_folder="out",
        records=tmp_path / "r.jsonl",
        **options,
    )


def test_events_come_in_order_chunks_among_them_and_the_record_is_written_before_the_last(make, tmp_path):
    async def talk(task_type, arguments, context):
        for word in ("one ", "two"):
            context.on_chunk(word)
            await asyncio.sleep(0)
        return Output(values={"value": "one two"})

    async def scenario():
        seen = []
        async with open_stream(make, tmp_path, make.plan(make.step("t")), make.worker(talk)) as events:
            async for event in events:
                seen.append(event)
                if event.kind == "ended":
                    assert read_records(tmp_path / "r.jsonl")[0] == [event.record]
        return seen

    events = run_bounded(scenario)
    assert [e.kind for e in events] == ["planned", "started", "chunk", "chunk", "finished", "ended"]
    assert [e.text for e in events if e.kind == "chunk"] == ["one ", "two"]
    assert [e.at_s for e in events] == sorted(e.at_s for e in events)


def test_leaving_the_stream_cancels_the_run_and_waits_for_its_record(make, tmp_path):
    stopped = []

    async def forever(task_type, arguments, context):
        try:
            await asyncio.Event().wait()
        finally:
            stopped.append(1)

    async def scenario():
        async with open_stream(make, tmp_path, make.plan(make.step("t")), make.worker(forever)) as events:
            async for event in events:
                if event.kind == "started":
                    break
        return read_records(tmp_path / "r.jsonl")[0]

    (record,) = run_bounded(scenario)
    assert record.status == "cancelled"
    assert len(stopped) <= 1
    assert record.tasks[0].status == "cancelled"


def test_the_runs_errors_are_raised_by_the_iteration(make, tmp_path):
    async def scenario():
        async with open_stream(make, tmp_path, make.plan(), make.worker()) as events:
            async for _ in events:
                raise AssertionError("nothing has started")

    with pytest.raises(RunRefusedError, match="no tasks"):
        run_bounded(scenario)


def test_a_listener_that_breaks_on_a_chunk_ends_the_run_and_not_the_worker(make, tmp_path):
    async def talk(task_type, arguments, context):
        context.on_chunk("x")
        await asyncio.sleep(30)
        raise WorkerError("unreachable")

    def listen(event):
        if event.kind == "chunk":
            raise BrokenPipeError("nobody reads")

    async def scenario():
        worker = make.worker(talk)
        await execute(
            make.plan(make.step("t")), make.catalog(worker), {"w": worker}, root=tmp_path, output_folder="o",
            on_event=listen,
        )  # fmt: skip

    with pytest.raises(BrokenPipeError):
        run_bounded(scenario)
