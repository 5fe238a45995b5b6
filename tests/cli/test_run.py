"""`orchestai run` and `orchestai runs`."""

import asyncio
import json
import signal
import subprocess
import sys
import threading

import pytest

from orchestai_jax.workflow import Value, read_records

PLANNER = ("--planner", "planner")


def test_plans_runs_prints_and_records(command, tmp_path):
    out = command("run", "shorten notes.txt", *PLANNER).stdout
    for part in (
        "started",
        "finished",
        "t2 extract_keywords",
        "done: 3 of 3 tasks",
        "record appended to runs/records.jsonl",
    ):
        assert part in out
    [record], problems = read_records(tmp_path / "runs" / "records.jsonl")
    assert not problems
    assert record.status == "succeeded"
    assert record.instruction == "shorten notes.txt"
    assert record.planner == {"checkpoint": "planner", "confidence": 0.5}
    assert record.preference == (1.0, 0.25, 0.25)  # the planner's own, where --prefer is not given
    summary = record.tasks[0].outputs["text"]
    assert summary == f"outputs/{record.run_id}/t1_summarize_text.txt"
    assert (tmp_path / summary).read_text().startswith("JAX compiles programs.")
    assert summary in out
    assert record.tasks[2].outputs["statistics"]["words"] > 0


def test_json_is_the_record_and_nothing_else(command, tmp_path):
    printed = command.json("run", "x", *PLANNER, "--json", "--records", "deep/er/r.jsonl", "--prefer", "quality")
    [record], _ = read_records(tmp_path / "deep" / "er" / "r.jsonl")
    assert printed == json.loads(record.model_dump_json())
    assert record.preference == (1.0, 0.0, 0.02)


def test_a_saved_plan_runs_without_a_planner(command, tmp_path):
    (tmp_path / "plan.json").write_text(command("plan", "shorten", *PLANNER, "--json").stdout)
    (tmp_path / "data").mkdir()
    (tmp_path / "notes.txt").rename(tmp_path / "data" / "notes.txt")
    record = command.json("run", "--workflow", "plan.json", "--root", "data", "--out", "data/made", "--json")
    assert record["status"] == "succeeded"
    assert record["planner"] == {"workflow_file": "plan.json"}
    assert record["preference"] is None  # the plan does not say
    assert (tmp_path / "data" / "made").is_dir()


def test_files_that_were_made_are_shown_with_their_paths(command, tmp_path, other_tasks):
    markdown = {"task_type": "markdown_to_html", "worker": "markdown_to_html_blocks"}
    changes = {**markdown, "arguments": {"text": Value(value="# Title")}}
    command.planner.plan_tasks = other_tasks(t3=changes)[2:]
    out = command("run", "x", *PLANNER, "--out", "made").stdout
    [page] = (tmp_path / "made").iterdir()
    assert f"made/{page.name}" in out


def test_exit_1_when_a_task_fails_and_the_rest_is_kept(command, tmp_path, other_tasks):
    empty = {"arguments": {"text": Value(value="empty.txt")}}
    (tmp_path / "empty.txt").write_text("")
    command.planner.plan_tasks = other_tasks(t1=empty)
    out = command("run", "x", *PLANNER, code=1).stdout
    assert "partly done: 1 of 3 tasks" in out
    [record], _ = read_records(tmp_path / "runs" / "records.jsonl")
    assert [run.status for run in record.tasks] == ["failed", "skipped", "succeeded"]


def test_what_cannot_run_is_refused_before_it_starts(command, tmp_path, other_tasks):
    command.planner.plan_tasks = other_tasks(t3={"arguments": {"text": Value(value="nots.txt")}})
    assert "did you mean 'notes.txt'" in command.error("run", "x", *PLANNER)
    assert list((tmp_path / "runs").iterdir()) == []
    command.planner.plan_tasks = other_tasks(t3={"worker": None})
    assert "task t3 (text_statistics) has no worker" in command.error("run", "x", *PLANNER)
    command.planner.plan_tasks = ()
    assert "no tasks" in command.error("run", "x", *PLANNER)


@pytest.mark.parametrize(
    "arguments, said",
    [
        ((), "give either TEXT"),
        (("x",), "TEXT needs --planner"),
        (("x", "--workflow", "plan.json"), "give either TEXT"),
        (("--workflow", "none.json"), "none.json"),
        (("--workflow", "notes.txt"), "is not JSON"),
        (("x", *PLANNER, "--root", "none"), "--root none is not a folder"),
        (("x", *PLANNER, "--out", "/elsewhere"), "outside the root"),
        (("x", *PLANNER, "--records", "planner"), "cannot write planner: Is a directory"),
        (("x", *PLANNER, "--records", "notes.txt/r.jsonl"), "cannot write notes.txt/r.jsonl"),
        (("", *PLANNER), "the instruction is empty"),
    ],
)
def test_wrong_use_is_one_line(command, arguments, said):
    assert said in command.error("run", *arguments)


@pytest.fixture
def _interruptible():
    """SIGINT interrupts: a process that a shell starts in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_interruptible")
def test_an_interrupt_writes_the_record_and_exits_130(command, tmp_path, monkeypatch):
    """A real SIGINT while a task runs."""
    import orchestai_jax.workers
    from orchestai_jax.workers import Output
    from orchestai_jax.workflow import WorkerSpec

    class Interrupted:
        def __init__(self, name, task_type):
            self.spec = WorkerSpec(id=name, task_types=(task_type,))

        async def run(self, task_type, arguments, context):
            if context.task_id == "t3":
                await asyncio.sleep(0)
                signal.raise_signal(signal.SIGINT)
                await asyncio.Event().wait()
            return Output(values={port.name: "x" for port in task_type.outputs})

    workers = {t.worker: Interrupted(t.worker, t.task_type) for t in command.planner.plan_tasks}
    monkeypatch.setattr(orchestai_jax.workers, "open_workers", lambda catalog: workers)
    result = command("run", "x", *PLANNER, code=130)
    assert "what was done stands in runs/records.jsonl" in result.stderr
    assert result.stderr.endswith("orchestai: interrupted\n")
    [record], _ = read_records(tmp_path / "runs" / "records.jsonl")
    assert record.status == "cancelled"
    assert record.tasks[0].status == "succeeded"


def test_max_concurrency_reaches_tools_in_threads(command, tmp_path, monkeypatch, other_tasks):
    """More tools at once than asyncio's default pool has threads on a small machine."""
    import orchestai_jax.workers
    from orchestai_jax.workers import Output
    from orchestai_jax.workflow import WorkerSpec

    many = 40  # the default pool never has more than 32
    barrier = threading.Barrier(many)

    class Meeting:
        spec = WorkerSpec(id="text_statistics_counter", task_types=("text_statistics",))

        async def run(self, task_type, arguments, context):
            await asyncio.to_thread(barrier.wait, 30)
            return Output(values={"statistics": {}})

    monkeypatch.setattr(orchestai_jax.workers, "open_workers", lambda catalog: {Meeting.spec.id: Meeting()})
    (task,) = other_tasks()[2:]
    command.planner.plan_tasks = tuple(task.model_copy(update={"id": f"t{i}"}) for i in range(many))
    assert command.json("run", "x", *PLANNER, "--json", "--max-concurrency", str(many))["status"] == "succeeded"


def test_runs_list_and_show(command, tmp_path):
    ids = [command.json("run", f"x {i}", *PLANNER, "--json")["run_id"] for i in range(2)]
    listed = command("runs", "list").stdout
    assert all(run_id in listed for run_id in ids)
    rows = command.json("runs", "list", "--json", "-n", "1")
    assert [(row["run_id"], row["instruction"], row["tasks"], row["succeeded"]) for row in rows] == [
        (ids[1], "x 1", 3, 3)
    ]
    assert command.json("runs", "show", "--json")["run_id"] == ids[1]
    assert command.json("runs", "show", ids[0], "--json")["run_id"] == ids[0]
    shown = command("runs", "show", ids[0]).stdout
    assert "t1 summarize_text  by summarize_text_lead  done" in shown
    assert ids[0] in shown
    assert "begins 2 run ids" in command.error("runs", "show", ids[0][:4])
    assert "no run 'zzz'" in command.error("runs", "show", "zzz")


def test_a_torn_record_is_said_and_a_broken_one_refused(command, tmp_path):
    run_id = command.json("run", "x", *PLANNER, "--json")["run_id"]
    records = tmp_path / "runs" / "records.jsonl"
    whole = records.read_bytes()
    records.write_bytes(whole + b'{"run_id": "tor')
    result = command("runs", "list", "--json")
    assert [row["run_id"] for row in json.loads(result.stdout)] == [run_id]
    assert "line 2" in result.stderr
    records.write_bytes(b"{}\n" + whole)
    assert "line 1" in command.error("runs", "list")
    assert "no run records at none.jsonl" in command.error("runs", "list", "--records", "none.jsonl")


def test_a_reader_that_goes_away_does_not_stop_the_run(command, tmp_path):
    """`orchestai run ... | head -1`, in real processes."""
    (tmp_path / "plan.json").write_text(command("plan", "shorten", *PLANNER, "--json").stdout)
    script = "import sys; from orchestai_jax.cli import main; sys.argv[0] = 'orchestai'; main()"
    with subprocess.Popen(
        [sys.executable, "-c", script, "run", "--workflow", "plan.json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0
    [record], _ = read_records(tmp_path / "runs" / "records.jsonl")
    assert record.status == "succeeded"


def test_limits_choose_the_workers_of_a_plan_before_it_runs(command, tmp_path, monkeypatch):
    import orchestai_jax.workers
    from orchestai_jax.workers import Output

    class Quiet:
        def __init__(self, spec):
            self.spec = spec

        async def run(self, task_type, arguments, context):
            return Output(values={port.name: "x" for port in task_type.outputs})

    opened = {}

    def open_workers(catalog):
        opened.update({spec.id: Quiet(spec) for spec in catalog.workers})
        return opened

    monkeypatch.setattr(orchestai_jax.workers, "open_workers", open_workers)
    kinds = "[summarize_text, extract_keywords, text_statistics]"
    (tmp_path / "c.yaml").write_text(
        f"""
task_types:
  - {{id: summarize_text, inputs: [{{name: text, type: text}}], outputs: [{{name: text, type: text}}],
      parameters: [{{name: sentences, type: integer}}]}}
  - {{id: extract_keywords, inputs: [{{name: text, type: text}}]}}
  - {{id: text_statistics, inputs: [{{name: text, type: text}}]}}
workers:
  - {{id: slow, task_types: {kinds}, cost: 1, latency: 4, quality: 0.9}}
  - {{id: quick, task_types: {kinds}, cost: 3, latency: 1, quality: 0.8}}
"""
    )
    where = ("run", "x", *PLANNER, "--catalog", "c.yaml")
    record = command.json(*where, "--budget", "9", "--json")
    assert [t["worker"] for t in record["tasks"]] == ["quick"] * 3
    assert "workers chosen for all tasks together" in record["workflow"]["notes"][-1]
    assert record["settings"]["policies"]["budget"] == {"cost": 9.0}
    opened.clear()
    assert "the fastest workers take 2 s, the deadline is 1 s" in command.error(*where, "--deadline", "1")
    assert opened == {}  # nothing was begun


def test_low_confidence_is_said(command, monkeypatch):
    real = command.planner.plan
    assert "confidence" not in command("run", "x", *PLANNER, "--json").stderr

    def unsure(self, *arguments, **options):
        return real(self, *arguments, **options).model_copy(update={"confidence": 0.12})

    monkeypatch.setattr(command.planner, "plan", unsure)
    result = command("run", "x", *PLANNER, "--json")
    assert json.loads(result.stdout)["status"] == "succeeded"
    assert "orchestai: low confidence (0.12) in the plan that is run" in result.stderr


def test_fsync_when_asked(command, monkeypatch):
    import os

    forced = []
    monkeypatch.setattr(os, "fsync", forced.append)
    command("run", "x", *PLANNER)
    assert not forced
    command("run", "x", *PLANNER, "--fsync")
    assert forced
