"""`orchestai runs`: what is not finished is listed, shown and resumed; policies from the command line."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from orchestai_jax.workers import Output, WorkerError
from orchestai_jax.workflow import WorkerSpec, read_records

PLANNER = ("--planner", "planner")


class Worker:
    """Does every task as told by its id."""

    def __init__(self, name, task_type, behaviour):
        self.spec, self._behaviour = WorkerSpec(id=name, task_types=(task_type,)), behaviour

    async def run(self, task_type, arguments, context):
        result = self._behaviour(context)
        if isinstance(result, Exception):
            raise result
        return Output(values={port.name: "x" for port in task_type.outputs}, cost=0.25)


@pytest.fixture
def behave(command, monkeypatch):
    """Workers for the paper plan that behave as told."""
    import orchestai_jax.workers

    def use(behaviour):
        workers = {t.worker: Worker(t.worker, t.task_type, behaviour) for t in command.planner.plan_tasks}
        monkeypatch.setattr(orchestai_jax.workers, "open_workers", lambda catalog: workers)

    return use


def test_a_run_that_did_not_succeed_is_resumed(command, behave, tmp_path):
    behave(lambda context: WorkerError("not today") if context.task_id == "t1" else None)
    failed = command.json("run", "x", *PLANNER, "--json", code=1)
    assert [t["status"] for t in failed["tasks"]] == ["failed", "skipped", "succeeded"]
    (journal,) = (tmp_path / "runs" / "journals").iterdir()
    assert journal.stem == failed["run_id"]
    asked = []
    behave(lambda context: asked.append(context.task_id))
    out = command("runs", "resume", failed["run_id"][:-2]).stdout
    assert "done: 3 of 3 tasks" in out
    assert sorted(asked) == ["t1", "t2"]
    assert list((tmp_path / "runs" / "journals").iterdir()) == []
    records, _ = read_records(tmp_path / "runs" / "records.jsonl")
    assert [(r.status, r.resumed) for r in records] == [("partial", 0), ("succeeded", 1)]
    (row,) = command.json("runs", "list", "--json")
    assert (row["status"], row["succeeded"], row["cost"]) == ("succeeded", 3, 0.75)
    assert f"run {failed['run_id']} has succeeded; there is nothing to resume" in command.error(
        "runs", "resume", failed["run_id"]
    )
    assert "no runs in runs/journals" in command.error("runs", "resume")


def test_what_was_given_on_the_command_line_governs_the_run(command, behave, tmp_path):
    calls = []

    def busy(context):
        calls.append(context.task_id)
        return WorkerError("busy", retryable=True)

    behave(busy)
    (tmp_path / "p.yaml").write_text("default: {retry: {first_delay_s: 0, jitter_s: 0, attempts: 9}}\n")
    record = command.json("run", "x", *PLANNER, "--json", "--policies", "p.yaml", "--attempts", "2", code=1)
    assert calls.count("t1") == 2
    assert record["settings"]["policies"]["default"]["retry"]["attempts"] == 2
    (tmp_path / "plan.json").write_text(command("plan", "shorten", *PLANNER, "--json").stdout)
    limits = ("--budget", "0", "--fallback", "0", "--attempts", "1")
    record = command.json("run", "--workflow", "plan.json", "--json", *limits, code=1)
    assert record["settings"]["policies"] == {
        "default": {"retry": {"attempts": 1}},
        "fallback_workers": 0,
        "budget": {"cost": 0.0},
    }
    (tmp_path / "p.yaml").write_text("default: {retries: 3}\n")
    assert "p.yaml: default.retries" in command.error("run", "x", *PLANNER, "--policies", "p.yaml")
    assert "none.yaml: cannot be read" in command.error("run", "x", *PLANNER, "--policies", "none.yaml")
    assert "default.timeout_s" in command.error("run", "x", *PLANNER, "--timeout", "0")


def test_a_resumption_may_be_given_more_money_and_time(command, behave, tmp_path):
    asked = []
    behave(lambda context: asked.append(context.task_id))
    (tmp_path / "plan.json").write_text(command("plan", "shorten", *PLANNER, "--json").stdout)
    limits = ("--budget", "0.3", "--max-concurrency", "1")
    first = command.json("run", "--workflow", "plan.json", "--json", *limits, code=1)
    assert "succeeded" in [t["status"] for t in first["tasks"]]
    assert "skipped" in [t["status"] for t in first["tasks"]]
    asked.clear()
    assert command.json("runs", "resume", "--json", code=1)["status"] != "succeeded"
    assert asked == []
    assert "budget.deadline_s" in command.error("runs", "resume", "--deadline", "-1")
    second = command.json("runs", "resume", "--budget", "5", "--deadline", "600", "--json")
    assert second["status"] == "succeeded"
    assert second["settings"]["policies"]["budget"] == {"cost": 5.0, "deadline_s": 600.0}


def test_files_of_records_in_one_folder_do_not_share_journals(command, behave):
    behave(lambda context: WorkerError("not today"))
    mine = command.json("run", "x", *PLANNER, "--json", "--records", "runs/mine.jsonl", code=1)
    command("run", "x", *PLANNER, code=1)
    (row,) = command.json("runs", "list", "--json", "--records", "runs/mine.jsonl")
    assert row["run_id"] == mine["run_id"]
    assert "no run" in command.error("runs", "resume", mine["run_id"])
    behave(lambda context: None)
    assert command.json("runs", "resume", "--records", "runs/mine.jsonl", "--json")["run_id"] == mine["run_id"]


def test_retries_are_printed(command, behave):
    behave(
        lambda context: (
            WorkerError("busy", retryable=True, retry_after_s=0.0)
            if context.task_id == "t1" and context.attempt == 1
            else None
        )
    )
    out = command("run", "x", *PLANNER).stdout
    assert "retried" in out
    assert "busy; again in" in out
    assert "after 2 attempts" in out


def test_tools_run_in_processes_when_asked(command):
    record = command.json("run", "x", *PLANNER, "--json", "--processes", "1")
    assert record["status"] == "succeeded"


def test_spans_go_to_the_console_when_asked(command):
    result = command("run", "x", *PLANNER, "--trace", "console", "--json")
    assert json.loads(result.stdout)["status"] == "succeeded"


STALLING = """
import asyncio, sys
import orchestai_jax.workers as workers
from orchestai_jax.workers import Output
from orchestai_jax.workflow import WorkerSpec

class Stalling:
    def __init__(self, spec): self.spec = spec
    async def run(self, task_type, arguments, context):
        if context.task_id == "t2":
            await asyncio.Event().wait()
        return Output(values={port.name: "x" for port in task_type.outputs})

def opened(catalog):
    return {spec.id: Stalling(spec) for spec in catalog.workers}

workers.open_workers = opened
from orchestai_jax.cli import main
sys.argv[0] = "orchestai"
main()
"""


@pytest.fixture
def stalled(command, tmp_path):
    """A real `orchestai run` in a process, in which t1 and t3 are finished and t2 stalls."""
    (tmp_path / "plan.json").write_text(command("plan", "shorten", *PLANNER, "--json").stdout)
    process = subprocess.Popen(
        [sys.executable, "-c", STALLING, "run", "--workflow", "plan.json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        end = time.monotonic() + 60
        while not _has_finished_two(tmp_path) and time.monotonic() < end and process.poll() is None:
            time.sleep(0.02)
        yield process
    finally:
        process.kill()
        process.wait(10)


def _has_finished_two(folder: pathlib.Path) -> bool:
    return any(path.read_bytes().count(b'"ended"') == 2 for path in folder.glob("runs/journals/*.jsonl"))


def test_a_killed_run_is_listed_shown_and_resumed(command, stalled, behave):
    asked = []
    behave(lambda context: asked.append(context.task_id))
    (row,) = command.json("runs", "list", "--json")
    assert (row["status"], row["succeeded"], row["tasks"]) == ("running", 2, 3)
    assert "is running" in command.error("runs", "resume")
    os.kill(stalled.pid, signal.SIGKILL)
    stalled.wait(30)
    (row,) = command.json("runs", "list", "--json")
    assert (row["status"], row["succeeded"]) == ("interrupted", 2)
    shown = command("runs", "show").stdout
    assert "t2 extract_keywords  by extract_keywords_frequency  was running" in shown
    assert f"interrupted: 2 of 3 tasks are finished; `orchestai runs resume {row['run_id']}` goes on" in shown
    whole = command.json("runs", "show", "--json")
    assert whole["running_tasks"] == ["t2"]
    assert {t["task"] for t in whole["tasks"]} == {"t1", "t3"}
    record = command.json("runs", "resume", "--json")
    assert record["status"] == "succeeded"
    assert record["run_id"] == row["run_id"]
    assert asked == ["t2"]
    assert [r["status"] for r in command.json("runs", "list", "--json")] == ["succeeded"]


def test_a_damaged_journal_is_said_and_the_rest_is_listed(command, tmp_path):
    command("run", "x", *PLANNER)
    (tmp_path / "runs" / "journals" / "broken.jsonl").write_text("[1]\n")
    result = command("runs", "list", "--json")
    assert len(json.loads(result.stdout)) == 1
    assert "broken.jsonl, line 1: is damaged" in result.stderr
