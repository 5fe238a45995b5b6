"""The journal: written before anybody may rely on it, resumed from wherever it ends, refused where damaged."""

import asyncio
import errno
import json
import os
import pathlib

import pytest

from orchestai_jax.execution import (
    FileJournal,
    Gates,
    JournalBusyError,
    JournalError,
    MemoryJournal,
    RunPolicies,
    execute,
    is_running,
    journalled_runs,
    read_journal,
    resume,
)
from orchestai_jax.execution._node import _trusted_run
from orchestai_jax.workers import Output, WorkerError
from orchestai_jax.workflow import Attempt, TaskRun


def entries(lines):
    return [json.loads(line) for line in lines]


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
def test_a_damaged_journal_is_refused(tmp_path, content, says, again):
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
def test_ids_that_are_none(make, tmp_path, perform, run_id, again):
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


def test_fsync_covers_journal_folder_and_record_also_of_a_resumption(make, perform, tmp_path, monkeypatch, again):
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
