"""The edges script over a planner that is scripted: groups, means, table."""

import io
import json

import edges
import pytest
from _training_runs import TrainedRun
from rich.console import Console

from orchestai_jax.data import PlanningSample
from orchestai_jax.workflow import Catalog, Port, Task, TaskType, Workflow

CATALOG = Catalog(task_types=tuple(TaskType(id=i, inputs=(Port(name="in", required=False),)) for i in "abcdef"))
SAMPLES = [
    PlanningSample("chain", "known", ("a", "b", "c"), ((0, 1), (1, 2))),
    PlanningSample("parallel", "half known", ("a", "d")),
    PlanningSample("other", "new", ("e", "f"), ((0, 1),)),
]


class ScriptedPlanner:
    """Joins only the first two tasks; plans `a -> b` for everything."""

    catalog = CATALOG

    def graph(self, text, task_types, catalog=None):
        return ((0, 1),)

    def plan(self, text, catalog=None, preference=None):
        return Workflow(tasks=(Task(id="1", task_type="a"), Task(id="2", task_type="b", depends_on=("1",))))


@pytest.fixture
def data():
    train = [PlanningSample("t", "x", ("a", "b", "c"))]
    return edges.EdgeData("toy", train, edges.only_used(CATALOG, train), (edges.TestSet("test", SAMPLES, CATALOG),))


@pytest.fixture
def evaluated(data, tmp_path):
    trained = TrainedRun(tmp_path, 3, 1.0, True, False, 6, "finished")
    return edges.evaluate(ScriptedPlanner(), data.tests[0], data, trained)


def test_samples_are_reported_by_how_much_of_them_was_seen(data, evaluated):
    assert [t.id for t in data.catalog.task_types] == ["a", "b", "c"]
    given = evaluated["gold_tasks"]
    assert {name: group["n"] for name, group in given.items()} == {
        "all": 3,
        "with_edges": 2,
        "seen": 1,
        "mixed": 1,
        "unseen": 1,
    }
    assert given["all"]["link_f1"] == pytest.approx((2 / 3 + 0 + 1) / 3)
    assert given["all"]["reference_f1"] == pytest.approx(2 * 2 / (3 + 3))
    assert given["mixed"]["chain"]["link_f1"] == 0
    assert given["with_edges"]["chain"]["link_f1"] == 1


def test_whole_plans_are_scored_and_kept(evaluated, tmp_path):
    assert evaluated["whole_plans"]["node_f1"] == pytest.approx((2 * 2 / 5 + 2 * 1 / 4 + 0) / 3)
    assert evaluated["whole_plans"]["coverage"] == 1
    assert len((tmp_path / "test_predictions.jsonl").read_text().splitlines()) == 3


def test_seeds_are_averaged_and_the_table_shows_both_sides(evaluated):
    better = json.loads(json.dumps(evaluated))
    better["gold_tasks"]["all"]["link_f1"] = 1.0
    mean = edges.mean_over_seeds([evaluated, better])
    first = evaluated["gold_tasks"]["all"]["link_f1"]
    assert mean["gold_tasks"]["all"]["link_f1"]["mean"] == pytest.approx((first + 1) / 2)
    assert mean["gold_tasks"]["all"]["link_f1"]["std"] == pytest.approx(abs(1 - first) / 2**0.5)
    assert mean["gold_tasks"]["seen"]["reference_f1"]["std"] == 0
    assert edges.mean_over_seeds([evaluated])["whole_plans"]["node_f1"]["std"] is None

    result = {"seeds": [0, 1], "sets": {"toy": {"tests": {"test": {"n": 3, "mean": mean}}}}}
    console = Console(record=True, width=160, file=io.StringIO())
    console.print(edges.table(result))
    text = console.export_text()
    assert "toy test, gold tasks: with edges" in text
    assert f"{(first + 1) / 2:.3f} (0.667)" in text
    assert "whole plans (node F1 0.433)" in text


def test_task_types_that_a_spec_forgets_are_known_by_name_alone():
    got = edges.with_undeclared(edges.only_used(CATALOG, SAMPLES[:1]), SAMPLES)
    assert [t.id for t in got.task_types] == ["a", "b", "c", "d", "e", "f"]
    assert got.fits("a", "d")
    assert got.fits("d", "a")


def test_the_public_data_is_read_as_its_readme_says(public_data):
    folder = public_data("nestful/glaive-data.json").parents[1]
    nestful = edges.read_nestful(folder)
    held_out, sgd = nestful.tests
    assert len(nestful.train) + len(held_out.samples) == 169
    assert not {s.id for s in nestful.train} & {s.id for s in held_out.samples}
    assert len(sgd.samples) == 46
    seal = edges.read_sealtools(folder)
    assert (len(seal.train), len(seal.tests[0].samples), len(seal.tests[0].catalog.task_types)) == (700, 700, 4076)
    # every gold edge can be drawn: types that do not fit would cap what any planner reaches
    for test in (*seal.tests, *nestful.tests):
        for sample in test.samples:
            for source, target in sample.dependencies:
                assert test.catalog.fits(sample.task_types[source], sample.task_types[target])


@pytest.mark.slow
@pytest.mark.timeout(900)  # compiles a planner's every program
def test_the_whole_script_on_a_few_samples(public_data, tmp_path, monkeypatch):
    folder = public_data("nestful/glaive-data.json").parents[1]
    monkeypatch.setenv("ORCHESTAI_DATA", str(folder))  # the configuration that is varied names files in it
    got = edges.main(["--quick", "--only", "nestful", "--seeds", "0", "--workdir", str(tmp_path / "runs")])
    assert json.loads((tmp_path / "runs" / "edges.json").read_text())["sets"] == got["sets"]
    tests = got["sets"]["nestful"]["tests"]
    assert set(tests) == {"glaive_held_out", "sgd"}
    for figures in tests.values():
        assert figures["mean"]["whole_plans"]["dag_validity"]["mean"] == 1
        assert figures["mean"]["gold_tasks"]["all"]["n"] == 12
