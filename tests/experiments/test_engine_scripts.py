"""The scripts about the engine, on small workloads: the figures are counted, no time is asserted."""

import asyncio
import collections
import json

import pytest

pytest.importorskip("psutil")

from _engine_workloads import random_parents, steps
from engine_faults import Faulty, check, in_blocks, inject, kill_and_resume, spec
from engine_makespan import fan_outs, random_dags
from engine_soak import soak

from orchestai_jax.workflow import RunRecord, TaskRun, topological_order


def test_parents_are_earlier_tasks_within_reach():
    parents = random_parents(200, 3, reach=7, most=3)
    assert all(0 < i - p <= 7 for i, before in enumerate(parents) for p in before)
    assert max(len(before) for before in parents) == 3
    assert len(topological_order(steps(parents))) == 200
    assert all(p // 20 == i // 20 for i, before in enumerate(in_blocks(100, 1)) for p in before)


def test_nothing_is_lost_under_faults(tmp_path):
    figures = asyncio.run(inject(400, 1, tmp_path))
    assert all(figures["injected"].values())
    assert all(figures["stalls"].values())
    assert sum(figures["stalls"].values()) == figures["injected"]["stall"]
    assert len(figures["statuses"]) == 3
    names = ("lost", "doubled", "wrong_values", "wrong_skips", "incomplete_records")
    assert [figures[name] for name in names] == [0] * 5


def test_the_check_finds_what_is_wrong(tmp_path):
    """The counts could not be anything but 0 if the check looked at nothing."""
    good = TaskRun(task="t0", task_type="step", worker="worker", status="succeeded", outputs={"value": 1})
    wrong = good.model_copy(update={"task": "t1", "outputs": {"value": 7}})
    record = RunRecord(run_id="r", workflow=steps([(), (0,)]), tasks=(good, wrong), status="succeeded")
    events = {("t0", "finished"): 2, ("t0", "started"): 1}
    workers = [Faulty(spec(name), 0, collections.Counter(good=1)) for name in ("worker", "second")]
    (tmp_path / "records.jsonl").write_text("")
    figures = check([(), (0,)], record, events, *workers, tmp_path)
    assert figures == {"lost": 1, "doubled": 1, "wrong_values": 1, "wrong_skips": 0, "incomplete_records": 1}


@pytest.mark.slow
def test_killed_processes_lose_nothing(tmp_path):
    figures = kill_and_resume(5, 0, tmp_path / "killed")
    assert figures["kills"] == 5
    assert figures["resumptions"] > 0
    assert figures["killed_after_the_record"] > 0
    names = ("tasks_lost", "finished_run_twice", "wrong_values", "processes_that_broke")
    assert [figures[name] for name in names] == [0] * 4


def test_makespans_and_soak_are_measured(tmp_path):
    figures = asyncio.run(random_dags(2, 0, None, tmp_path))
    assert figures["mean"] >= 1.0
    assert asyncio.run(random_dags(2, 0, 2, tmp_path))["mean"] >= 1.0
    fanned = asyncio.run(fan_outs(1, 0, tmp_path))  # how much is gained is the machine's, and what the script measures
    assert fanned["min"] == fanned["mean_speedup"] > 0
    figures = asyncio.run(soak(0.3, 0, tmp_path))
    assert figures["events"]["ended"] == sum(figures["runs"].values()) > 0
    json.dumps(figures, allow_nan=False)
