"""The UltraTool script: its figures from given reports, its options, and (slow) the whole of it on a few samples."""

import io
import json

import numpy as np
import pytest
from rich.console import Console

pytest.importorskip("sklearn")

import planner_ultratool as script
from _training_runs import TrainedRun

from orchestai_jax.data import PlanningSample
from orchestai_jax.evaluation import PlanningReport, PredictedPlan, reference_counts, score_plans

GOLD = [
    PlanningSample("1", "x", ("a", "b"), ((0, 1),)),
    PlanningSample("2", "y", ("a", "b", "c"), ((0, 1), (1, 2))),
    PlanningSample("3", "z", ("c", "d"), ((0, 1),)),
]


def report(plans):
    scores = score_plans(GOLD, plans)
    return PlanningReport(
        scores=scores,
        chain_link_f1=scores.link_f1,
        chain_references=np.zeros((len(scores.link_f1), 3)),
        references=reference_counts(GOLD, plans),
        values=None,
        latencies_ms=np.array([1.0, 2.0]),
        plan_confidences=scores.accuracy,
        task_confidences=np.zeros((0, 2)),
    )


RIGHT = [PredictedPlan(s.task_types, s.dependencies) for s in GOLD]
HALF = [PredictedPlan(("a",)), *RIGHT[1:]]
NONE = [None] * 3


@pytest.fixture
def trained(tmp_path):
    line = {"epoch": 1, "split": "train", "values": {"decision_loss": 4.0}, "step": 1, "wall_s": 1.0}
    lines = [
        line,
        {**line, "step": 2, "values": {"decision_loss": 0.4}},
        {**line, "step": 2, "split": "validation", "values": {"decision_loss": 0.6}},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in lines))
    return [TrainedRun(tmp_path, seed, 60.0, True, False, 2, "finished") for seed in (0, 1)]


def test_figures_are_means_over_seeds_with_their_spread(trained):
    reports = [report(RIGHT), report(HALF)]
    got = script.planner_figures(trained, reports, GOLD)
    half = (2 / 3 + 1 + 1) / 3
    assert got["mean"]["node_f1"] == pytest.approx((1 + half) / 2)
    assert got["std_over_seeds"]["node_f1"] == pytest.approx((1 - half) / 2**0.5)
    assert got["intervals"]["node_f1"][0] < got["mean"]["node_f1"] <= got["intervals"]["node_f1"][1] <= 1
    assert got["by_number_of_tasks"]["2"] == {
        "n": 2,
        "node_f1": pytest.approx((1 + (2 / 3 + 1) / 2) / 2),
        "link_f1": pytest.approx(0.75),
        "accuracy": pytest.approx(0.75),
    }
    assert got["by_number_of_tasks"]["3"]["n"] == 1
    assert [entry["seed"] for entry in got["seeds"]] == [0, 1]
    assert got["seeds"][0]["curve"][0]["validation"] == {"decision_loss": 0.6}
    assert script.planner_figures(trained[:1], reports[:1], GOLD)["std_over_seeds"]["link_f1"] is None
    json.dumps(got, allow_nan=False)


def test_the_gain_is_counted_sample_by_sample():
    got = script.gains([report(RIGHT), report(RIGHT)], score_plans(GOLD, HALF))
    assert got["node_f1"]["mean"] == pytest.approx((1 / 3) / 3)
    assert got["node_f1"]["interval"][0] == 0  # two of three samples do not differ
    assert script.gains([report(RIGHT)], score_plans(GOLD, NONE))["accuracy"] == {"mean": 1.0, "interval": [1.0, 1.0]}


def test_loss_per_decision_says_where_it_began_and_ended(trained):
    assert script.loss_per_decision(trained)[0] == {
        "seed": 0,
        "train": {"first": 4.0, "last": 0.4},
        "validation": {"first": 0.6, "last": 0.6, "lowest": 0.6},
    }


def test_the_table_sets_planner_and_baseline_side_by_side(trained):
    result = {
        "n": {"test": 3},
        "seeds": [0, 1],
        "planner": script.planner_figures(trained, [report(RIGHT), report(RIGHT)], GOLD),
        "baseline": script.score_figures(score_plans(GOLD, HALF)),
        "latency_one_core": {"p50_ms": 12.3, "p95_ms": 20.0},
        "machine": {"cores": 2},
    }
    console = Console(record=True, width=140, file=io.StringIO())
    console.print(script.table(result))
    text = console.export_text()
    for words in ("node f1", "1.000", "0.889", "0.895", "p50 12.3 ms", "training 1.0 min"):
        assert words in text


def test_a_quick_run_writes_nowhere_near_the_figures_of_record():
    quick, whole = script.parse(["--quick"]), script.parse([])
    assert quick.results == quick.workdir == quick.plot.parent
    assert whole.results.parts[-2:] == ("experiments", "results")
    assert whole.plot.parts[-3:] == ("docs", "images", "planner_ultratool_curves.png")
    assert not {quick.workdir, quick.results} & {whole.workdir, whole.results}
    assert whole.seeds == [0, 1, 2]


@pytest.mark.slow
@pytest.mark.timeout(900)  # compiles a planner's every program
def test_the_whole_script_on_a_few_samples(public_data, tmp_path, monkeypatch):
    from orchestai_jax.planner.pretrained import EncoderNotFoundError, find_pretrained

    monkeypatch.setenv("ORCHESTAI_DATA", str(public_data("ultratool/train.jsonl").parents[1]))
    try:
        find_pretrained("minilm", allow_download=False)
    except EncoderNotFoundError as error:
        pytest.skip(f"the baseline needs MiniLM: {error}")
    given = ["--quick", "--seeds", "0", "--timed", "3", "--workdir", str(tmp_path / "runs")]
    got = script.main(given)
    written = json.loads((tmp_path / "runs" / "planner_ultratool.json").read_text())
    assert written["planner"]["mean"] == got["planner"]["mean"]
    assert got["n"] == {"train": 64, "validation": 16, "test": 16}
    assert got["planner"]["mean"]["coverage"] == got["planner"]["mean"]["dag_validity"] == 1
    assert got["latency_one_core"]["cores"] == 1
    assert len((tmp_path / "runs" / "seed-0" / "test_predictions.jsonl").read_text().splitlines()) == 16
    for name in ("curves", "confidence"):
        assert (tmp_path / "runs" / f"planner_ultratool_{name}.png").read_bytes().startswith(b"\x89PNG")
    assert written["confidence_on_validation"]["seeds"][0]["abstention"][-1]["coverage"] == 1
    assert str(tmp_path) not in json.dumps({k: v for k, v in written.items() if k != "command"})

    finished = (tmp_path / "runs" / "seed-0" / "metrics.jsonl").read_text()
    again = script.main(given)
    assert again["planner"]["mean"] == got["planner"]["mean"]
    assert (tmp_path / "runs" / "seed-0" / "metrics.jsonl").read_text() == finished  # reused, not trained again
