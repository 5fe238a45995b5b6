"""The evaluation of a planner: what is asked of it, what is timed, written and shown."""

import io
import json

import numpy as np
import pytest
from rich.console import Console

from orchestai_jax.config import Preference
from orchestai_jax.data.sample import PlanningSample
from orchestai_jax.evaluation import evaluate_planner, report
from orchestai_jax.workflow import Catalog, Task, TaskType, WorkerSpec, Workflow

CATALOG = Catalog(task_types=tuple(TaskType(id=i) for i in "abc"))
SAMPLES = [
    PlanningSample("1", "a then b", ("a", "b"), ((0, 1),), workers=("fast", "good"), preference=(1.0, 0.5, 0.25)),
    PlanningSample("2", "only c", ("c",)),
    PlanningSample("3", "nothing fits", ("a",)),
]


class Clock:
    """Seconds that pass only while somebody plans."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class ScriptedPlanner:
    """Plans from a table; planning takes 1 s the first time that an instruction is seen, 10 ms afterwards."""

    def __init__(self, clock, catalog=CATALOG):
        self.catalog, self.clock, self.asked = catalog, clock, []

    def plan(self, text, catalog=None, preference=None):
        self.clock.now += 1.0 if text not in [t for t, _, _ in self.asked] else 0.01
        self.asked.append((text, catalog, preference))
        if text == "a then b":
            first = Task(id="t1", task_type="a", worker="fast")
            return Workflow(
                tasks=(first, Task(id="t2", task_type="b", worker="cheap", depends_on=("t1",))), confidence=0.9
            )
        if text == "only c":
            return Workflow(tasks=(Task(id="t1", task_type="c"), Task(id="t2", task_type="b")), confidence=0.4)
        raise ValueError("the instruction fits no task type")


def test_confidences_of_tasks_are_judged_by_the_gold_types():
    class Sure(ScriptedPlanner):
        def plan(self, text, catalog=None, preference=None):
            given = {"a then b": (("a", 0.9), ("b", 0.8)), "only c": (("c", 0.6), ("b", 0.6))}.get(text, (("c", 0.2),))
            tasks = tuple(Task(id=f"t{i}", task_type=t, confidence=p) for i, (t, p) in enumerate(given))
            return Workflow(tasks=tasks, confidence=0.5)

    got = evaluate_planner(Sure(Clock()), SAMPLES)
    assert got.task_confidences.tolist() == [[0.9, 1], [0.8, 1], [0.6, 1], [0.6, 0], [0.2, 0]]
    assert got.as_dict()["calibration"]["task"]["ece"] == pytest.approx((0.1 + 0.2 + 0.4 + 0.6 + 0.2) / 5)


@pytest.fixture
def catalog():
    workers = tuple(WorkerSpec(id=w, task_types=("a", "b", "c")) for w in ("fast", "good", "cheap"))
    return Catalog(task_types=CATALOG.task_types, workers=workers)


def test_the_figures_are_those_of_the_plans(catalog, tmp_path, caplog):
    clock = Clock()
    planner = ScriptedPlanner(clock, catalog)
    predictions = tmp_path / "new" / "predictions.jsonl"
    got = evaluate_planner(planner, SAMPLES, predictions=predictions, clock=clock)
    figures = got.as_dict()
    assert figures["node_f1"] == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert figures["link_f1"] == pytest.approx((1 + 1 + 1) / 3)
    assert figures["accuracy"] == pytest.approx(1 / 3)
    assert figures["coverage"] == figures["dag_validity"] == pytest.approx(2 / 3)
    assert figures["selection_accuracy"] == 0.5
    assert figures["n"] == 3
    assert figures["reference_f1"] == 1
    assert figures["chain_baseline_link_f1"] == pytest.approx((1 + 0 + 1) / 3)  # c -> b was not wanted
    assert figures["chain_baseline_reference_f1"] == pytest.approx(2 / 3)
    assert got.failures == (("3", "the instruction fits no task type"),)
    assert figures["failures"] == 1
    assert "no plan for sample 3" in caplog.text
    # confidences .9 (right), .4 (wrong) and none (wrong), a bin each
    assert figures["calibration"]["plan"]["ece"] == pytest.approx((0.1 + 0.4 + 0) / 3)
    assert "task" not in figures["calibration"]
    assert [p["accuracy"] for p in figures["abstention"]][-1] == pytest.approx(1 / 3)
    assert figures["abstention"][2] == {"coverage": 1 / 3, "accuracy": 1.0, "least_confidence": 0.9}
    json.dumps(figures, allow_nan=False)

    rows = [json.loads(line) for line in predictions.read_text().splitlines()]
    assert [row["id"] for row in rows] == ["1", "2", "3"]
    assert rows[0] == {
        "id": "1",
        "task_nodes": [{"task": "a"}, {"task": "b"}],
        "task_links": [{"source": "a", "target": "b"}],
        "dependencies": [[0, 1]],
        "workers": ["fast", "cheap"],
        "confidence": 0.9,
        "valid": True,
    }
    assert rows[2]["valid"] is False
    assert rows[2]["task_nodes"] == []
    assert rows[2]["error"] == "the instruction fits no task type"


def test_only_plans_after_the_warm_up_are_timed(catalog):
    clock = Clock()
    figures = evaluate_planner(ScriptedPlanner(clock, catalog), SAMPLES, clock=clock).as_dict()
    assert figures["latency_ms_p50"] == pytest.approx(10)
    assert figures["latency_ms_p95"] == pytest.approx(10)


def test_a_long_file_is_timed_on_evenly_spaced_samples(catalog, monkeypatch):
    monkeypatch.setattr(report, "MAX_TIMED", 3)
    clock = Clock()
    planner = ScriptedPlanner(clock, catalog)
    got = evaluate_planner(planner, SAMPLES[:2] * 4, clock=clock)
    assert got.scores.n == 8
    assert got.latencies_ms.shape == (3,)


def test_catalog_and_preference_reach_the_planner(catalog):
    clock = Clock()
    planner = ScriptedPlanner(clock)
    other = Catalog(task_types=catalog.task_types[:1])
    got = evaluate_planner(planner, SAMPLES[:2], catalog=other, clock=clock)
    assert planner.asked[0] == ("a then b", other, Preference(success=1.0, cost=0.5, latency=0.25))
    assert planner.asked[1] == ("only c", other, None)
    assert got.as_dict()["coverage"] == 0  # the plans use task types that the given catalog does not have


def test_workers_of_tasks_without_a_choice_are_not_counted():
    alone = Catalog(task_types=CATALOG.task_types, workers=(WorkerSpec(id="fast", task_types=("a", "b", "c")),))
    got = evaluate_planner(ScriptedPlanner(Clock(), alone), SAMPLES, clock=Clock())
    assert got.as_dict()["selection_accuracy"] is None


def test_data_without_workers_has_no_selection_accuracy(catalog):
    clock = Clock()
    got = evaluate_planner(ScriptedPlanner(clock, catalog), SAMPLES[1:2], clock=clock)
    assert got.as_dict()["selection_accuracy"] is None
    assert "selection_accuracy" not in got.intervals()


def test_intervals_hold_their_figures(catalog):
    clock = Clock()
    got = evaluate_planner(ScriptedPlanner(clock, catalog), SAMPLES, clock=clock)
    figures = got.as_dict()
    for name, (low, high) in figures["intervals"].items():
        assert low <= figures[name] <= high
    assert figures["intervals"]["link_f1"] == [1, 1]
    assert np.ptp(figures["intervals"]["node_f1"]) > 0.5


def test_the_table_shows_every_figure(catalog):
    clock = Clock()
    got = evaluate_planner(ScriptedPlanner(clock, catalog), SAMPLES, clock=clock)
    console = Console(record=True, width=100, file=io.StringIO())
    console.print(got.table("Here"))
    text = console.export_text()
    for words in ("Here (3 samples)", "node F1", "0.556", "worker choice", "0.500", "latency p50", "10.0 ms"):
        assert words in text
    assert "instructions without a plan" in text


def test_faults_of_the_planner_are_not_hidden(catalog):
    class Broken(ScriptedPlanner):
        def plan(self, text, catalog=None, preference=None):
            if not self.asked:
                self.asked.append((text, catalog, preference))
                raise RuntimeError("out of memory")
            return super().plan(text, catalog, preference)

    with pytest.raises(RuntimeError, match="out of memory"):
        evaluate_planner(Broken(Clock(), catalog), SAMPLES)


def test_no_samples_is_an_error(catalog):
    with pytest.raises(ValueError, match="no samples"):
        evaluate_planner(ScriptedPlanner(Clock(), catalog), [])
