"""The ternary encoder's script: its figures, and (slow) the whole of it with a tiny teacher."""

import pathlib
import sys

import numpy as np
import pytest

pytest.importorskip("sklearn")

import ternary_encoder as script

from orchestai_jax.data import PlanningSample, train_tokenizer
from orchestai_jax.evaluation import PlanningReport, PredictedPlan, reference_counts, score_plans

GOLD = [PlanningSample("1", "x", ("a", "b"), ((0, 1),)), PlanningSample("2", "y", ("a",))]


def report(plans):
    scores = score_plans(GOLD, plans)
    return PlanningReport(
        scores=scores,
        chain_link_f1=scores.link_f1,
        chain_references=np.zeros((len(scores.link_f1), 3)),
        references=reference_counts(GOLD, plans),
        values=None,
        latencies_ms=np.array([1.0]),
        plan_confidences=scores.accuracy,
        task_confidences=np.zeros((0, 2)),
    )


def figures(node_f1, size, milliseconds):
    return {"test": {"node_f1": node_f1}, "bytes": {"encoder": size}, "plan_ms": {"p50": milliseconds}}


def test_what_is_asked_is_compared():
    found = script.compared({"float": figures(0.8, 90, 20.0), "ternary": figures(0.79, 15, 6.5)})
    assert found == {"node_f1_kept": 0.9875, "bytes_float_over_ternary": 6.0, "ternary_plan_p50_ms": 6.5}
    judged = {name: script.reached(*script.TARGETS[name], value) for name, value in found.items()}
    assert judged == dict.fromkeys(found, True)
    assert not script.reached("at_least", 0.987, 0.98)
    assert not script.reached("at_most", 7.0, 7.1)


def test_differences_are_by_sample():
    right = [PredictedPlan(s.task_types, s.dependencies) for s in GOLD]
    half = [PredictedPlan(("a",)), right[1]]
    got = script.differences(report(right), report(half))
    assert got["node_f1"]["mean"] == pytest.approx((2 / 3 - 1) / 2)
    assert got["accuracy"]["mean"] == pytest.approx(-0.5)
    low, high = got["node_f1"]["interval"]
    assert low <= got["node_f1"]["mean"] <= high


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_whole_of_it(public_data, tmp_path):
    public_data("ultratool/train.jsonl")
    sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "training"))
    from random_bert import write_bert

    (tmp_path / "bert").mkdir()
    write_bert(tmp_path / "bert", train_tokenizer(["book a flight to a city and tell me the weather there"], 200))
    folders = [f"--{name}={tmp_path / name}" for name in ("encoder-workdir", "float-workdir", "ternary-workdir")]
    given = ["--quick", f"--teacher={tmp_path / 'bert'}", f"--results={tmp_path}", *folders]
    result = script.main(given)
    assert set(result["asked_for"]) == set(script.TARGETS)
    assert result["float"]["bytes"]["encoder"] > 2 * result["ternary"]["bytes"]["encoder"]
    assert [entry["step"] for entry in result["distillation"]["validation"]] == [2, 4]
    assert script.main(given)["ternary"]["test"] == result["ternary"]["test"]  # everything is reused
    alone = script.main([*given, "--distill-only"])
    assert alone["bytes"]["float"] == result["float"]["bytes"]["encoder"]
    assert alone["bytes"]["ternary"] == result["ternary"]["bytes"]["encoder"]
    assert alone["distillation"] == result["distillation"]
