"""Run records as samples: what they become, and what is refused."""

import logging

import pytest

from orchestai_jax.data import DataError, PlanningSample, load_samples
from orchestai_jax.workflow import Reference, RunRecord, Task, TaskRun, Value, Workflow, append_record


def record(run_id="r1", statuses=("succeeded", "succeeded"), seconds=(4.0, 1.0), **changes):
    tasks = (
        Task(id="t2", task_type="b", worker="w2", arguments={"x": Reference(task="t1", output="o")}),
        Task(id="t1", task_type="a", worker="w1", arguments={"n": Value(value=3)}),
    )
    runs = tuple(
        TaskRun(task=t, task_type=k, worker=w, status=s, duration_s=d)
        for t, k, w, s, d in zip(("t1", "t2"), "ab", ("w1", "other"), statuses, seconds, strict=True)
    )
    fields = {"instruction": "go", "preference": (1.0, 0.1, 0.2), "status": "succeeded", "cost": 0.5, "duration_s": 5.0}
    return RunRecord(run_id=run_id, workflow=Workflow(tasks=tasks), tasks=runs, **{**fields, **changes})


def test_records_become_samples_in_topological_order(tmp_path):
    path = tmp_path / "records.jsonl"
    append_record(path, record())
    append_record(path, record("r2", ("succeeded", "failed"), (2.0, 9.0), status="partial"))
    first, second = load_samples(path, "records")
    assert first == PlanningSample(
        "r1",
        "go",
        ("a", "b"),
        ((0, 1),),
        workers=("w1", "other"),
        arguments=({"n": {"value": 3}}, {"x": {"task": 0, "output": "o"}}),
        complexities=(1.0, 1.0 / 3.0),  # the slowest type, a, takes 3 s on average
        preference=(1.0, 0.1, 0.2),
        rewards={"success": 1.0, "cost": -0.5, "latency": -5.0},
    )
    assert second.complexities == (2.0 / 3.0, 1.0 / 3.0)  # b failed: its type's mean
    assert second.rewards["success"] == 0.5


def test_records_without_any_measured_time_have_no_complexities(tmp_path):
    path = tmp_path / "records.jsonl"
    append_record(path, record(statuses=("succeeded", "skipped")))
    assert load_samples(path, "records")[0].complexities is None


def test_a_torn_record_is_reported_and_a_broken_one_refused(tmp_path, caplog):
    path = tmp_path / "records.jsonl"
    append_record(path, record())
    whole = path.read_text()
    path.write_text(whole + whole[:40])
    with caplog.at_level(logging.WARNING):
        assert len(load_samples(path, "records")) == 1
    assert "line 2" in caplog.text
    path.write_text(whole[:40] + "\n" + whole)
    with pytest.raises(DataError, match="line 1"):
        load_samples(path, "records")
    path.write_text("")
    with pytest.raises(DataError, match="no run record"):
        load_samples(path, "records")
