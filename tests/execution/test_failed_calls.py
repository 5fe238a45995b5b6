"""What failed calls leave behind: their cost counts, also in a resumed run; a call keeps its key over a kill."""

import asyncio
import shutil

import pytest

from orchestai_jax.execution import MemoryJournal, RunPolicies, execute, read_journal, resume
from orchestai_jax.workers import Output, WorkerError
from orchestai_jax.workflow import RunRecord


def run_bounded(scenario):
    async def bounded():
        async with asyncio.timeout(30):
            return await scenario()

    return asyncio.run(bounded())


def killed_while(make, tmp_path, worker, policies=None) -> None:
    """A journal `j/r.jsonl` as a kill leaves it while the worker's call `hangs` waits."""

    async def scenario():
        run = asyncio.create_task(
            execute(
                make.plan(make.step("t")),
                make.catalog(worker),
                {"w": worker},
                root=tmp_path,
                output_folder="out",
                journal=tmp_path / "first",
                run_id="r",
                policies=policies,
            )
        )
        await worker.hangs.wait()
        for _ in range(5):
            await asyncio.sleep(0)
        shutil.copytree(tmp_path / "first", tmp_path / "j")
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run

    run_bounded(scenario)


def again(worker, folder, **options) -> RunRecord:
    return run_bounded(lambda: resume("r", {"w": worker}, journal=folder, **options))


@pytest.mark.parametrize("failures", [0, 1])
@pytest.mark.parametrize("how", ["j", "first"])  # killed, cancelled
def test_a_call_that_was_broken_off_has_its_number_again_and_its_key(make, tmp_path, failures, how):
    contexts = []

    async def work(task_type, arguments, context):
        contexts.append(context)
        if context.attempt <= failures:
            raise WorkerError("busy", retryable=True, cost=0.5, tokens=7)
        if len(contexts) <= failures + 1:
            worker.hangs.set()
            await asyncio.Event().wait()
        return Output(values={"value": 1}, cost=0.25, tokens=1)

    worker = make.worker(work)
    worker.hangs = asyncio.Event()
    policies = RunPolicies.model_validate({"default": {"retry": {"first_delay_s": 0, "jitter_s": 0}}})
    killed_while(make, tmp_path, worker, policies)
    record = again(worker, tmp_path / how)
    assert [c.attempt for c in contexts] == [*range(1, failures + 2), failures + 1]
    assert {c.idempotency_key for c in contexts} == {"r/t"}
    (run,) = record.tasks
    assert [a.error for a in run.calls] == ["busy"] * failures + [None]
    assert (run.cost, run.tokens) == (0.25 + 0.5 * failures, 1 + 7 * failures)
    assert record.cost == run.cost


def test_what_failed_calls_cost_counts_in_every_resumption(make, perform, tmp_path):
    async def work(task_type, arguments, context):
        return Output(values={}, cost=1.0, tokens=10)  # malformed, and paid for

    worker = make.worker(work)
    first = perform(
        make.plan(make.step("t")), worker, journal=tmp_path / "j", run_id="r", policies={"budget": {"cost": 1.5}}
    )
    second, third, fourth = (again(worker, tmp_path / "j") for _ in range(3))
    assert [r.cost for r in (first, second, third, fourth)] == [1.0, 2.0, 2.0, 2.0]
    assert [r.tokens for r in (first, second, third, fourth)] == [10, 20, 20, 20]
    assert len(worker.calls) == 2  # at $2 nothing more is begun
    assert [r.tasks[0].status for r in (first, second, third)] == ["failed", "failed", "skipped"]
    assert "$2 is spent" in str(third.tasks[0].error)
    assert len(fourth.tasks[0].attempts) == 2
    assert read_journal(tmp_path / "j", "r").failed_calls["t"] == fourth.tasks[0].attempts


@pytest.mark.parametrize("timeout_s", [None, 5.0])
def test_an_answer_that_was_billed_and_refused_counts(make, perform, timeout_s):
    async def work(task_type, arguments, context):
        raise WorkerError("the answer was cut", cost=0.75, tokens=9)

    record = perform(
        make.plan(make.step("a"), make.step("b"), make.step("c")),
        make.worker(work, cost=0.5),
        policies={"budget": {"cost": 1.5}, "default": {"timeout_s": timeout_s}},
        max_concurrency=1,
    )
    assert [run.status for run in record.tasks] == ["failed", "failed", "skipped"]
    assert [run.cost for run in record.tasks] == [0.75, 0.75, 0]
    assert (record.cost, record.tokens) == (1.5, 18)


@pytest.mark.parametrize("cost", [-1.0, float("nan"), "dear", True])
def test_a_cost_that_is_none_counts_for_nothing(make, perform, cost):
    async def work(task_type, arguments, context):
        raise WorkerError("no", cost=cost, tokens=cost)

    assert perform(make.plan(make.step("t")), make.worker(work)).cost == 0


@pytest.mark.parametrize("timeout_s", [None, 1000.0])
def test_a_result_that_comes_while_a_call_is_stopped_is_kept(make, tmp_path, timeout_s):
    async def stubborn(task_type, arguments, context):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return Output(values={"value": "saved"}, cost=0.5)

    events = []

    async def scenario():
        running = asyncio.Event()

        def listen(event):
            events.append(event)
            if event.kind == "started":
                running.set()

        worker = make.worker(stubborn)
        run = asyncio.create_task(
            execute(
                make.plan(make.step("t")),
                make.catalog(worker),
                {"w": worker},
                root=tmp_path,
                output_folder="out",
                on_event=listen,
                policies=RunPolicies.model_validate({"default": {"timeout_s": timeout_s}}),
            )
        )
        await running.wait()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run

    run_bounded(scenario)
    (run,) = events[-1].record.tasks
    assert (run.status, run.outputs, run.cost) == ("succeeded", {"value": "saved"}, 0.5)


@pytest.mark.parametrize(
    "late", [Output(values={"value": 1}, cost=0.5, tokens=4), WorkerError("x", cost=0.5, tokens=4)]
)
def test_what_comes_after_the_time_limit_is_no_result_but_was_paid_for(make, perform, late):
    async def slow(task_type, arguments, context):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if isinstance(late, Output):
                return late
            raise late from None

    record = perform(make.plan(make.step("t")), make.worker(slow), policies={"default": {"timeout_s": 1.0}}, jump=True)
    (run,) = record.tasks
    assert (run.status, run.cost, run.tokens) == ("failed", 0.5, 4)
    assert "took longer" in str(run.error)


@pytest.mark.parametrize("timeout_s", [None, 1000.0])
def test_a_call_that_fails_while_the_run_stops_is_not_tried_again(make, perform, timeout_s):
    """A retryable error in answer to a cancellation is the cancellation's, and what it cost counts."""

    async def work(task_type, arguments, context):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise WorkerError("connection lost", retryable=True, cost=0.5) from None

    worker = make.worker(work)
    record = perform(
        make.plan(make.step("t")),
        worker,
        policies={"budget": {"deadline_s": 5.0}, "default": {"timeout_s": timeout_s}},
        jump=True,
    )
    (run,) = record.tasks
    assert len(worker.calls) == 1
    assert "deadline of 5 s" in str(run.error)
    assert record.cost == 0.5
    assert record.duration_s < 100


def test_a_failed_call_is_in_the_journal_before_the_next_begins(make, perform):
    journal, seen = MemoryJournal(), []

    async def work(task_type, arguments, context):
        seen.append(sum(b'"called"' in line for line in journal.lines))
        if context.attempt < 3:
            raise WorkerError("busy", retryable=True)
        return Output(values={"value": 1})

    assert perform(make.plan(make.step("t")), make.worker(work), journal=journal, jump=True).status == "succeeded"
    assert seen == [0, 1, 2]
