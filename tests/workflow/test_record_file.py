"""Files of records: cut at a size, secrets masked, arrays written, several writers."""

import json
import multiprocessing

import numpy as np
import pytest

from orchestai_jax.workflow import (
    Attempt,
    RunRecord,
    Task,
    TaskRun,
    Value,
    Workflow,
    append_record,
    latest_records,
    read_records,
    record_files,
)


def record(run_id="r", **changes):
    return RunRecord(run_id=run_id, workflow=Workflow(), status="succeeded", **changes)


def test_a_file_that_is_large_enough_is_set_aside_and_all_are_read(tmp_path):
    path = tmp_path / "runs.jsonl"
    for i in range(7):
        append_record(path, record(f"r{i}"), max_bytes=400)
    files = record_files(path)
    assert [file.name for file in files[:2]] == ["runs.000001.jsonl", "runs.000002.jsonl"]
    assert files[-1] == path
    assert all(file.stat().st_size < 400 + 300 for file in files)
    assert [r.run_id for r in read_records(path)[0]] == [f"r{i}" for i in range(7)]
    path.unlink()
    assert len(read_records(path)[0]) < 7  # those set aside are still read
    with pytest.raises(ValueError, match="max_bytes is 0"):
        append_record(path, record(), max_bytes=0)


def test_other_files_beside_it_are_no_records(tmp_path):
    path = tmp_path / "runs.jsonl"
    for name in ("runs.jsonl.torn", "runs.1.jsonl", "other.000001.jsonl", "runs.000001.json"):
        (tmp_path / name).write_text("{")
    append_record(path, record())
    assert record_files(path) == [path]


def _append_many(path, name, count):
    for i in range(count):
        append_record(path, record(f"{name}-{i}"), max_bytes=2000, fsync=False)


def test_writers_in_several_processes_lose_nothing_while_files_are_set_aside(tmp_path):
    path = tmp_path / "runs.jsonl"
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_append_many, args=(path, name, 60)) for name in "abc"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    found, problems = read_records(path)
    assert not problems
    assert sorted(r.run_id for r in found) == sorted(f"{n}-{i}" for n in "abc" for i in range(60))
    assert len(record_files(path)) > 3


@pytest.mark.parametrize("secret", ["sk-very-secret", 'with "quotes"\n', "geheimnis-ß", "succeeded"])
def test_secrets_never_reach_the_file(tmp_path, monkeypatch, secret):
    monkeypatch.setenv("SOME_API_KEY", secret)
    secret = secret.strip()
    task = Task(id="t", task_type="x", arguments={"a": Value(value=[f"use {secret}"])})
    run = TaskRun(
        task="t",
        task_type="x",
        worker="w",
        status="failed",
        error=f"401 for {secret}",
        outputs={"o": {"k": secret}},
        attempts=(Attempt(worker="w", error=f"no {secret}"),),
    )
    whole = record(
        instruction=f"do {secret}",
        planner={"p": secret},
        tasks=(run,),
        settings={"s": secret},
    ).model_copy(update={"workflow": Workflow(instruction=secret, tasks=(task,), notes=(secret,))})
    path = tmp_path / "r.jsonl"
    append_record(path, whole)
    text = path.read_text()
    if secret != "succeeded":  # the state's name is no secret
        assert secret not in text
        assert json.dumps(secret)[1:-1] not in text
    (back,), _ = read_records(path)
    assert back.tasks[0].error == "401 for ***"
    assert back.tasks[0].attempts[0].error == "no ***"
    assert back.workflow.tasks[0].arguments["a"] == Value(value=["use ***"])
    assert (back.instruction, back.planner, back.settings) == ("do ***", {"p": "***"}, {"s": "***"})
    assert (back.workflow.instruction, back.workflow.notes) == ("***", ("***",))
    assert back.tasks[0].outputs == {"o": {"k": "***"}}
    assert back.status == "succeeded"


def test_arrays_become_lists(tmp_path):
    path = tmp_path / "r.jsonl"
    scores = {"confidences": np.array([[0.5, np.nan]], np.float32), "n": np.int64(3), "t": (1, 2)}
    append_record(path, record(planner=scores))
    (back,), _ = read_records(path)
    assert back.planner == {"confidences": [[0.5, None]], "n": 3, "t": [1, 2]}


def test_records_of_the_first_version_are_read(tmp_path):
    path = tmp_path / "r.jsonl"
    old = {
        "schema_version": 1,
        "run_id": "old",
        "workflow": {"tasks": [{"id": "t", "task_type": "x"}]},
        "tasks": [{"task": "t", "task_type": "x", "worker": "w", "status": "succeeded", "duration_s": 0.5, "cost": 1}],
        "status": "succeeded",
    }
    path.write_text(json.dumps(old) + "\n")
    (back,), _ = read_records(path)
    assert back.tasks[0].calls == (Attempt(worker="w", duration_s=0.5, cost=1.0),)
    assert back.tokens == 0


def test_calls_of_a_task():
    attempts = (Attempt(worker="a", error="no"), Attempt(worker="b"))
    assert TaskRun(task="t", task_type="x", worker="b", status="succeeded", attempts=attempts).calls == attempts
    assert TaskRun(task="t", task_type="x", worker="b", status="skipped").calls == ()


def test_the_latest_record_of_a_run_counts():
    first, second = record("a", cost=1.0), record("a", cost=2.0)
    assert latest_records([first, record("b"), second]) == [second, record("b")]
