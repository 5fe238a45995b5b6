"""Resumption: from wherever the journal ends, with what is finished kept and all else done."""

import asyncio

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from orchestai_jax.config import Preference
from orchestai_jax.execution import (
    BudgetPolicy,
    RunRefusedError,
    execute,
    is_running,
    journalled_runs,
    read_journal,
    resume,
)
from orchestai_jax.execution.lost_files import lost_files
from orchestai_jax.workers import Output, WorkerError
from orchestai_jax.workflow import Port, Reference, TaskRun, TaskType, latest_records, read_records


def test_a_resumption_runs_only_what_is_not_finished(make, broken_off, tmp_path, again):
    contexts = []

    async def work(task_type, arguments, context):
        contexts.append(context)
        return Output(values={"value": [context.task_id, arguments.get("a")]})

    events = []
    worker = make.worker(work)
    record = again("run-1", worker, folder=broken_off, on_event=events.append, records=tmp_path / "r.jsonl")
    assert [name for name, _ in worker.calls] == ["bad", "next"]
    assert record.status == "succeeded"
    assert record.run_id == "run-1"
    assert record.resumed == 1
    assert [run.outputs["value"] for run in record.tasks] == [
        ["one", None],
        ["two", ["one", None]],
        ["bad", None],
        ["next", ["two", ["one", None]]],
    ]
    assert record.cost == 1.0
    assert record.tokens == 4
    assert record.planner == {"checkpoint": "c"}
    assert record.preference == Preference.PRESETS["fast"].weights
    assert record.settings == {"max_concurrency": 3, "policies": {"fallback_workers": 1}}
    assert [e.task.id for e in events if e.kind == "kept"] == ["one", "two"]
    assert [c.attempt for c in contexts] == [2, 1]
    assert [c.idempotency_key for c in contexts] == ["run-1/bad", "run-1/next"]
    starts = [run.started_s for run in record.tasks]
    assert starts == sorted(starts)  # the clock goes on
    assert read_records(tmp_path / "r.jsonl") == ([record], [])
    assert journalled_runs(broken_off) == []  # nobody needs it any more


def test_a_run_that_did_not_succeed_keeps_its_journal_and_its_last_record_counts(make, perform, tmp_path, again):
    async def work(task_type, arguments, context):
        if context.attempt < 2:
            raise WorkerError("not yet")
        return Output(values={"value": 1})

    folder, records = tmp_path / "j", tmp_path / "r.jsonl"
    worker = make.worker(work)
    first = perform(make.plan(make.step("t")), worker, journal=folder, run_id="r", records=records)
    assert first.status == "failed"
    assert read_journal(folder, "r").over == "failed"
    second = again("r", worker, folder=folder, records=records)
    assert second.status == "succeeded"
    assert [r.status for r in read_records(records)[0]] == ["failed", "succeeded"]
    assert latest_records(read_records(records)[0]) == [second]


def test_without_records_the_journal_stays_and_a_resumption_has_nothing_to_do(make, perform, tmp_path, again):
    worker = make.worker()
    record = perform(make.plan(make.step("t")), worker, journal=tmp_path / "j", run_id="r")
    assert journalled_runs(tmp_path / "j") == ["r"]
    back = again("r", folder=tmp_path / "j")  # no worker is needed for what is finished
    assert [run.outputs for run in back.tasks] == [run.outputs for run in record.tasks]
    assert len(worker.calls) == 1
    assert read_journal(tmp_path / "j", "r").resumed == 1


def test_what_the_rest_needs_is_checked_anew(make, broken_off, again):
    with pytest.raises(RunRefusedError, match="task bad wants worker 'w'"):
        again("run-1", folder=broken_off)
    assert not is_running(broken_off, "run-1")  # the lock is given back


@pytest.mark.parametrize("cut", [1, 5, 60])
def test_a_torn_last_line_is_cut_off(make, broken_off, cut, again):
    path = broken_off / "run-1.jsonl"
    path.write_bytes(path.read_bytes() + b'{"ended":{"task":"bad","task_type":"step","status":"succeeded"}}\n'[:-cut])
    record = again("run-1", make.worker(), folder=broken_off)
    assert record.status == "succeeded"
    assert len(record.tasks[2].outputs) == 1  # the torn line counted for nothing
    assert read_journal(broken_off, "run-1").over == "succeeded"  # and what came after it does not hang on to it


@pytest.mark.parametrize("text", ["plain", "\ud800"])  # a lone surrogate is written in another way
def test_a_resumed_run_sees_what_the_first_saw(make, perform, tmp_path, text, again):
    given = {
        "nan": float("nan"),
        "maybe surrogate": text,
        "tuple": (1, (2,)),
        "keys": {1: "x"},
        "array": np.arange(3),
        "scalar": np.float32(0.5),
        "text": "ß\n\r\u2028",
    }
    seen = []

    async def work(task_type, arguments, context):
        if context.task_id != "a":
            seen.append(arguments["a"])
            if context.attempt == 1:
                raise WorkerError("stop")
        return Output(values={"value": given})

    workflow = make.plan(make.step("a"), make.step("b", "a", a=Reference(task="a", output="value")))
    worker = make.worker(work)
    perform(workflow, worker, journal=tmp_path, run_id="r")
    again("r", worker, folder=tmp_path)
    assert repr(seen[0]) == repr(seen[1])
    assert seen[0]["tuple"] == [1, [2]]
    assert seen[0]["array"] == [0, 1, 2]
    assert seen[0]["keys"] == {"1": "x"}


@hypothesis.settings(max_examples=40, deadline=None)
@hypothesis.given(data=st.data())
def test_wherever_a_journal_is_cut_a_resumption_completes_it(make, tmp_path_factory, data):
    """The journal of a whole run, cut at any byte after its head, is a run that was killed there."""
    tmp_path = tmp_path_factory.mktemp("cut")
    count = 6
    parents = [data.draw(st.lists(st.integers(0, i - 1), unique=True, max_size=2)) if i else [] for i in range(count)]
    workflow = make.plan(*(make.step(f"t{i}", *(f"t{p}" for p in parents[i])) for i in range(count)))

    async def work(task_type, arguments, context):
        return Output(values={"value": context.task_id})

    worker = make.worker(work)
    options = {"root": tmp_path, "output_folder": "out", "journal": tmp_path / "j", "run_id": "r"}
    asyncio.run(execute(workflow, make.catalog(worker), {"w": worker}, **options))
    path = tmp_path / "j" / "r.jsonl"
    whole = path.read_bytes()
    head = whole.index(b"\n") + 1
    share = data.draw(st.floats(0, 1))  # the lines' lengths differ a little from run to run
    path.write_bytes(whole[: head + round(share * (len(whole) - head))])
    finished = set(read_journal(tmp_path / "j", "r").finished)
    worker.calls.clear()
    record = asyncio.run(resume("r", {"w": worker}, journal=tmp_path / "j"))
    assert record.status == "succeeded"
    assert {name for name, _ in worker.calls} == {f"t{i}" for i in range(count)} - finished
    assert len(worker.calls) == count - len(finished)
    assert all(run.outputs == {"value": run.task} for run in record.tasks)


def test_past_the_deadline_a_resumption_calls_nobody_until_it_is_given_more_time(make, perform, tmp_path, again):
    async def slow(task_type, arguments, context):
        if context.task_id == "slow":
            await asyncio.sleep(100)
        return Output(values={"value": 1}, cost=1.0)

    workflow = make.plan(make.step("fast"), make.step("slow"))
    policies = {"budget": {"deadline_s": 5.0, "cost": 9.0}}
    first = perform(workflow, make.worker(slow), journal=tmp_path, run_id="r", policies=policies, jump=True)
    assert first.tasks[1].status == "failed"
    path = tmp_path / "r.jsonl"  # the loop's time jumps, the run's clock does not
    path.write_bytes(path.read_bytes() + b'{"over":{"status":"failed","at_s":6.0}}\n')
    worker = make.worker()
    second = again("r", worker, folder=tmp_path)
    assert (worker.calls, second.tasks[1].status) == ([], "skipped")
    assert second.tasks[1].error == "the run's deadline of 5 s has passed"
    assert second.duration_s < 60
    third = again("r", worker, folder=tmp_path, budget=BudgetPolicy(deadline_s=1000.0))
    assert (third.status, [name for name, _ in worker.calls]) == ("succeeded", ["slow"])
    kept = read_journal(tmp_path, "r").header.policies.budget
    assert (kept.deadline_s, kept.cost) == (1000.0, 9.0)  # a further resumption has it too
    assert third.settings["policies"]["budget"] == {"deadline_s": 1000.0, "cost": 9.0}


def test_who_looks_whether_a_run_runs_does_not_keep_it_from_being_resumed(make, broken_off, monkeypatch, again):
    import fcntl

    path = broken_off / "run-1.jsonl"
    looking = path.open("rb")
    fcntl.flock(looking, fcntl.LOCK_SH)
    monkeypatch.setattr("orchestai_jax.execution.journal.time.sleep", lambda _: looking.close())
    assert again("run-1", make.worker(), folder=broken_off).status == "succeeded"


@pytest.fixture
def drawn(make, perform, tmp_path):
    """A run of three tasks: `one` and `two` have made files, `three` has failed. Gives the journal's folder."""

    async def work(task_type, arguments, context):
        if context.task_id == "three":
            raise WorkerError("first time")
        name = f"{context.task_id}.png"
        (context.output_folder / name).write_text("made")
        return Output({port.name: f"out/{name}" for port in task_type.outputs}, cost=0.5)

    (tmp_path / "photo.png").write_bytes(b"photo")
    workflow = make.plan(
        make.step("one", task_type="shrink", image="photo.png"),
        make.step("two", "one", task_type="shrink", image=Reference(task="one", output="image")),
        make.step("three", "one", a=Reference(task="one", output="image")),
    )
    perform(workflow, make.worker(work), journal=tmp_path / "j", run_id="r")
    return tmp_path / "j"


@pytest.mark.parametrize("gone", [(), ("one",), ("two",), ("one", "two")])
def test_finished_tasks_whose_files_are_gone_are_done_again(make, drawn, tmp_path, again, caplog, gone):
    for name in gone:
        (tmp_path / "out" / f"{name}.png").unlink()
    attempts = {}

    async def work(task_type, arguments, context):
        attempts[context.task_id] = context.attempt
        (tmp_path / "out" / f"{context.task_id}.png").write_text("made anew")
        return Output({port.name: f"out/{context.task_id}.png" for port in task_type.outputs}, cost=0.25)

    record = again("r", make.worker(work), folder=drawn)
    assert record.status == "succeeded"
    assert attempts == {"three": 2} | dict.fromkeys(gone, 2)
    assert record.cost == 1.25 + 0.25 * len(gone)  # what the lost files have cost stays spent
    for run in record.tasks[:2]:
        told = [a.error for a in run.attempts]
        assert told == ([f"what it made is gone: out/{run.task}.png", None] if run.task in gone else [])
    assert [name for name in ("one", "two") if f"task {name} is done again" in caplog.text] == list(gone)


def test_a_task_that_is_done_again_is_not_finished_before_its_new_end(make, drawn, tmp_path, again):
    (tmp_path / "out" / "one.png").unlink()
    states = []

    async def work(task_type, arguments, context):
        (tmp_path / "out" / "one.png").write_text("hal")
        states.append(read_journal(drawn, "r"))  # what a resumption finds when the run is killed here
        raise WorkerError("half done")

    again("r", make.worker(work), folder=drawn)
    assert set(states[0].finished) == {"two"}
    assert [a.error for a in states[0].failed_calls["one"]] == ["what it made is gone: out/one.png"]
    assert set(read_journal(drawn, "r").finished) == {"two"}


def test_files_of_texts_count_where_they_are_the_runs_own(tmp_path):
    texts = TaskType(id="t", outputs=(Port(name="text", type="text"), Port(name="files", type="file", required=False)))

    def lost(**outputs):
        run = TaskRun(task="t", task_type="t", status="succeeded", outputs=outputs)
        return lost_files(run, texts, tmp_path, tmp_path / "out")

    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "there.md").write_text("x")
    assert lost(text="see out/gone.md for more", files=[]) == []
    assert lost(text="elsewhere/gone.md") == []
    assert lost(text="out/there.md", files=["out/there.md"]) == []
    assert lost(text="out/gone.md", files=["out/there.md", "out/gone.bin", "../gone"]) == [
        "out/gone.md",
        "out/gone.bin",
        "../gone",
    ]
