"""The journal: written before anybody may rely on it, resumed from wherever it ends, refused where damaged."""

import asyncio
import errno
import json
import os
import pathlib

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from orchestai_jax.config import Preference
from orchestai_jax.execution import (
    BudgetPolicy,
    FileJournal,
    Gates,
    JournalBusyError,
    JournalError,
    MemoryJournal,
    RunPolicies,
    RunRefusedError,
    execute,
    is_running,
    journalled_runs,
    read_journal,
    resume,
)
from orchestai_jax.execution._node import _trusted_run
from orchestai_jax.workers import Output, WorkerError
from orchestai_jax.workflow import Attempt, Reference, TaskRun, latest_records, read_records


def entries(lines):
    return [json.loads(line) for line in lines]


def again(run_id, *workers, folder, **options):
    async def bounded():
        async with asyncio.timeout(30):
            return await resume(run_id, {w.spec.id: w for w in workers}, journal=folder, **options)

    return asyncio.run(bounded())


def test_an_output_is_in_the_journal_before_anybody_sees_it(make, perform):
    journal, seen = MemoryJournal(), []

    def ended():
        return {e["ended"]["task"] for e in entries(journal.lines) if "ended" in e}

    async def work(task_type, arguments, context):
        seen.append((context.task_id, ended()))
        return Output(values={"value": context.task_id})

    def listen(event):
        if event.kind == "finished":
            assert event.task.id in ended()

    workflow = make.plan(make.step("a"), make.step("b"), make.step("c", "a", "b"), make.step("d", "c"))
    assert perform(workflow, make.worker(work), journal=journal, on_event=listen).status == "succeeded"
    assert seen == [("a", set()), ("b", set()), ("c", {"a", "b"}), ("d", {"a", "b", "c"})]


def test_what_ends_together_is_written_together(make, perform):
    class Counting(MemoryJournal):
        writes = 0

        def write(self, entries):
            self.writes += 1
            super().write(entries)

    journal = Counting()
    workflow = make.plan(*(make.step(f"a{i}") for i in range(50)), make.step("b", *(f"a{i}" for i in range(50))))

    async def at_once(task_type, arguments, context):
        return Output(values={"value": 1})

    perform(workflow, make.worker(at_once), journal=journal, max_concurrency=100)
    assert journal.writes == 2


def test_what_runs_is_in_the_journal_as_started(make, perform):
    journal = MemoryJournal()

    async def work(task_type, arguments, context):
        await asyncio.sleep(0.01)
        started = [e["started"] for e in entries(journal.lines) if "started" in e]
        assert [s["task"] for s in started] == ["t"]
        return Output(values={"value": 1})

    assert perform(make.plan(make.step("t")), make.worker(work), journal=journal).status == "succeeded"


def test_what_has_ended_runs_no_more_and_its_call_counts_once(make, perform, tmp_path):
    async def work(task_type, arguments, context):
        await asyncio.sleep(0.01)
        return Output(values={"value": 1})

    perform(make.plan(make.step("t")), make.worker(work), journal=tmp_path, run_id="r")
    state = read_journal(tmp_path, "r")
    assert (state.running, state.failed_calls, state.over) == (set(), {"t": ()}, "succeeded")


@pytest.fixture
def broken_off(make, perform, tmp_path):
    """A run of six tasks in which `bad` fails and `stop` ends the run with an error of the listener's."""

    async def work(task_type, arguments, context):
        if context.task_id == "bad":
            raise WorkerError("first time")
        return Output(values={"value": [context.task_id, arguments.get("a")]}, cost=0.5, tokens=2)

    def listen(event):
        if event.kind == "failed":
            raise RuntimeError("stop here")

    worker = make.worker(work)
    workflow = make.plan(
        make.step("one"),
        make.step("two", "one", a=Reference(task="one", output="value")),
        make.step("bad", "two"),
        make.step("next", "bad", "two", a=Reference(task="two", output="value")),
    )
    with pytest.raises(RuntimeError, match="stop here"):
        perform(
            workflow,
            worker,
            journal=tmp_path / "journals",
            run_id="run-1",
            on_event=listen,
            planner_info={"checkpoint": "c"},
            preference=Preference.PRESETS["fast"],
            policies={"fallback_workers": 1},
            max_concurrency=3,
        )
    return tmp_path / "journals"


def test_a_resumption_runs_only_what_is_not_finished(make, broken_off, tmp_path):
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


def test_a_run_that_did_not_succeed_keeps_its_journal_and_its_last_record_counts(make, perform, tmp_path):
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


def test_without_records_the_journal_stays_and_a_resumption_has_nothing_to_do(make, perform, tmp_path):
    worker = make.worker()
    record = perform(make.plan(make.step("t")), worker, journal=tmp_path / "j", run_id="r")
    assert journalled_runs(tmp_path / "j") == ["r"]
    back = again("r", folder=tmp_path / "j")  # no worker is needed for what is finished
    assert [run.outputs for run in back.tasks] == [run.outputs for run in record.tasks]
    assert len(worker.calls) == 1
    assert read_journal(tmp_path / "j", "r").resumed == 1


def test_what_the_rest_needs_is_checked_anew(make, broken_off):
    with pytest.raises(RunRefusedError, match="task bad wants worker 'w'"):
        again("run-1", folder=broken_off)
    assert not is_running(broken_off, "run-1")  # the lock is given back


@pytest.mark.parametrize("cut", [1, 5, 60])
def test_a_torn_last_line_is_cut_off(make, broken_off, cut):
    path = broken_off / "run-1.jsonl"
    path.write_bytes(path.read_bytes() + b'{"ended":{"task":"bad","task_type":"step","status":"succeeded"}}\n'[:-cut])
    record = again("run-1", make.worker(), folder=broken_off)
    assert record.status == "succeeded"
    assert len(record.tasks[2].outputs) == 1  # the torn line counted for nothing
    assert read_journal(broken_off, "run-1").over == "succeeded"  # and what came after it does not hang on to it


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "before it began"),
        (b'{"begin":{"versi', "before it began"),
        (b'{"started":{}}\n', "line 1: is damaged: a journal begins"),
        (b'{"begin":{"version":9}}\n', "version is 9"),
        (b'{"begin":{"version":1}}\n', "line 1: is damaged"),
        (b"[1]\n", "line 1: is damaged"),
        (b"\xff\n", "line 1: is damaged"),
    ],
)
def test_a_damaged_journal_is_refused(tmp_path, content, says):
    (tmp_path / "r.jsonl").write_bytes(content)
    with pytest.raises(JournalError, match=says) as caught:
        again("r", folder=tmp_path)
    assert "r.jsonl" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_damage_inside_is_named(broken_off):
    path = broken_off / "run-1.jsonl"
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([lines[0], b'{"what":1}', *lines[1:]]))
    with pytest.raises(JournalError, match="line 2: is damaged: 'what' is no entry"):
        read_journal(broken_off, "run-1")


@pytest.mark.parametrize("run_id", ["", "../x", "a/b", ".hidden", "none"])
def test_ids_that_are_none(make, tmp_path, perform, run_id):
    with pytest.raises(JournalError):
        again(run_id, folder=tmp_path)
    if run_id not in ("", "none"):
        with pytest.raises(JournalError, match="no run id"):
            perform(make.plan(make.step("t")), make.worker(), journal=tmp_path, run_id=run_id)


def test_a_run_that_runs_cannot_be_resumed_nor_begun_twice(make, tmp_path):
    async def scenario():
        running = asyncio.Event()

        async def work(task_type, arguments, context):
            running.set()
            await asyncio.Event().wait()

        worker = make.worker(work)
        options = {"root": tmp_path, "output_folder": "out", "journal": tmp_path / "j", "run_id": "r"}
        run = asyncio.create_task(execute(make.plan(make.step("t")), make.catalog(worker), {"w": worker}, **options))
        await running.wait()
        assert is_running(tmp_path / "j", "r")
        with pytest.raises(JournalBusyError, match="is running"):
            await resume("r", {"w": worker}, journal=tmp_path / "j")
        with pytest.raises(JournalError, match="already"):
            await execute(make.plan(make.step("t")), make.catalog(worker), {"w": worker}, **options)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        assert not is_running(tmp_path / "j", "r")

    asyncio.run(scenario())
    assert read_journal(tmp_path / "j", "r").over == "cancelled"


def test_a_journal_that_cannot_be_written_ends_the_run_and_nothing_more_is_started(make, perform):
    class Full(MemoryJournal):
        def write(self, entries):
            if any("ended" in e for e in entries):
                raise OSError(errno.ENOSPC, "No space left on device")
            super().write(entries)

    events, worker = [], make.worker()
    with pytest.raises(OSError, match="No space left"):
        perform(make.plan(make.step("a"), make.step("b", "a")), worker, journal=Full(), on_event=events.append)
    assert [name for name, _ in worker.calls] == ["a"]
    assert "finished" not in [e.kind for e in events]
    assert events[-1].kind == "ended"


def test_a_write_that_fails_halfway_is_taken_back(make, perform, tmp_path, monkeypatch):
    perform(make.plan(make.step("t")), make.worker(), journal=tmp_path, run_id="r")
    journal, _ = FileJournal.reopen(tmp_path, "r")
    before = journal.path.read_bytes()
    real, parts = os.write, []

    def short(descriptor, data):
        parts.append(len(data))
        if len(parts) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data[:7])

    monkeypatch.setattr(os, "write", short)
    with pytest.raises(OSError, match="No space"):
        journal.write([{"over": {"status": "failed", "at_s": 1.0}}])
    assert journal.path.read_bytes() == before
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:7]))
    journal.write([{"over": {"status": "failed", "at_s": 1.0}}])
    assert read_journal(tmp_path, "r").over == "failed"
    journal.close()
    journal.close()
    with pytest.raises(JournalError, match="closed"):
        journal.write([])


def test_only_the_user_may_read_it(make, perform, tmp_path):
    perform(make.plan(make.step("t")), make.worker(), journal=tmp_path / "j", run_id="r")
    assert (tmp_path / "j" / "r.jsonl").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("text", ["plain", "\ud800"])  # a lone surrogate is written in another way
def test_a_resumed_run_sees_what_the_first_saw(make, perform, tmp_path, text):
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


def test_attempts_survive_beside_what_utf8_lacks(make, perform, tmp_path):
    async def work(task_type, arguments, context):
        if context.attempt == 1:
            raise WorkerError("busy", retryable=True)
        return Output(values={"value": "\ud800"})

    record = perform(
        make.plan(make.step("t")), make.worker(work), journal=tmp_path, run_id="r", jump=True, policies=RunPolicies()
    )
    state = read_journal(tmp_path, "r")
    assert state.ended["t"] == record.tasks[0]
    assert [a.error for a in state.ended["t"].attempts] == ["busy", None]
    assert [a.error for a in state.failed_calls["t"]] == ["busy"]


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


def test_the_unchecked_task_run_is_what_the_checked_one_is():
    fields = {
        "task": "t",
        "task_type": "x",
        "worker": "w",
        "status": "failed",
        "started_s": 0.5,
        "duration_s": 1.5,
        "cost": 0.25,
        "tokens": 3,
        "quality": None,
        "error": "no",
        "outputs": {"a": [1]},
        "attempts": (Attempt(worker="w", error="no"),),
    }
    trusted, checked = _trusted_run(dict(fields)), TaskRun(**fields)
    assert trusted == checked
    assert trusted.model_dump() == checked.model_dump()
    assert trusted.model_dump_json() == checked.model_dump_json()
    assert trusted.model_copy(update={"cost": 1.0}) == checked.model_copy(update={"cost": 1.0})
    assert set(fields) == set(TaskRun.model_fields)


def test_policies_survive_in_the_journal(make, perform, tmp_path):
    policies = RunPolicies.model_validate({"workers": {"w": {"timeout_s": 5.0}}, "budget": {"cost": 3}})
    perform(make.plan(make.step("t")), make.worker(), journal=tmp_path, run_id="r", policies=policies)
    assert read_journal(tmp_path, "r").header.policies == policies


def test_past_the_deadline_a_resumption_calls_nobody_until_it_is_given_more_time(make, perform, tmp_path):
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


def test_a_run_that_is_refused_by_its_gates_leaves_no_journal(make, tmp_path):
    async def scenario():
        worker, gates = make.worker(), Gates()
        options = {"root": tmp_path, "output_folder": "out", "gates": gates, "journal": tmp_path / "j"}
        other = RunPolicies.model_validate({"workers": {"w": {"rate": {"requests_per_minute": 5}}}})
        workflow, catalog = make.plan(make.step("t")), make.catalog(worker)
        await execute(workflow, catalog, {"w": worker}, run_id="a", **options)
        before = (tmp_path / "j" / "a.jsonl").read_bytes()
        with pytest.raises(ValueError, match="is shared under"):
            await execute(workflow, catalog, {"w": worker}, run_id="b", policies=other, **options)
        assert journalled_runs(tmp_path / "j") == ["a"]
        assert (tmp_path / "j" / "a.jsonl").read_bytes() == before

    asyncio.run(scenario())


def test_fsync_covers_journal_folder_and_record_and_a_resumption_keeps_to_it(make, perform, tmp_path, monkeypatch):
    forced = []
    real = os.fsync

    def force(descriptor):
        forced.append(pathlib.Path(f"/proc/self/fd/{descriptor}").resolve().name)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", force)
    worker = make.worker()
    options = {"journal": tmp_path / "j", "run_id": "r"}
    perform(make.plan(make.step("t")), worker, **options, records=tmp_path / "plain.jsonl")
    assert forced == []
    perform(make.plan(make.step("t")), worker, **options, records=tmp_path / "k" / "r.jsonl", fsync=True)
    assert {"j", "r.jsonl", "k"} <= set(forced)
    assert forced[-2:] == ["r.jsonl", "k"]  # the record, then its name, before the journal goes
    failing = make.worker(lambda *_: asyncio.sleep(0))
    perform(make.plan(make.step("t")), failing, **options, fsync=True)
    forced.clear()
    again("r", worker, folder=tmp_path / "j", records=tmp_path / "k" / "r.jsonl")
    assert forced[-2:] == ["r.jsonl", "k"]


def test_a_journal_appears_only_with_its_first_line(make, perform, tmp_path, monkeypatch):
    seen = []
    real = os.write

    def watch(descriptor, data):
        seen.append(journalled_runs(tmp_path))
        return real(descriptor, data)

    (tmp_path / "r.jsonl.new").write_bytes(b'{"begin":{"vers')  # left by a start that was killed
    monkeypatch.setattr(os, "write", watch)
    perform(make.plan(make.step("t")), make.worker(), journal=tmp_path, run_id="r")
    assert seen[0] == []
    assert journalled_runs(tmp_path) == ["r"]
    assert [path.name for path in tmp_path.glob("r*")] == ["r.jsonl"]
    assert read_journal(tmp_path, "r").over == "succeeded"


def test_a_run_that_has_ended_in_between_is_not_running(tmp_path):
    assert not is_running(tmp_path, "gone")


def test_somebody_who_looks_whether_a_run_runs_does_not_keep_it_from_being_resumed(make, broken_off, monkeypatch):
    import fcntl

    path = broken_off / "run-1.jsonl"
    looking = path.open("rb")
    fcntl.flock(looking, fcntl.LOCK_SH)
    monkeypatch.setattr("orchestai_jax.execution.journal.time.sleep", lambda _: looking.close())
    assert again("run-1", make.worker(), folder=broken_off).status == "succeeded"
