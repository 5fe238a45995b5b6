"""The script on planning speed: its ratios and verdicts, the products it times, and (slow) the whole of it."""

import io
import json

import _plan_speed_process as process
import numpy as np
import plan_speed as script
import pytest
from rich.console import Console

MEASURED = {
    "n": 3,
    "tokens_p50": 45.0,
    "ms": {
        "plan": {"p50": 12.0, "p95": 20.0},
        "matrix_products": {"p50": 10.0, "p95": 11.0},
        "torch_eager": {"p50": 24.0, "p95": 30.0},
    },
    "skipped": {"onnx_runtime": "No module named 'onnxruntime'"},
    "batched": {"ratio": 1.4, "padding_share": 0.2},
}


def test_ratios_and_what_is_reached():
    got = script.compared(MEASURED, {"p50_s": 2.5})
    assert got == {
        "plan_over_matrix_products": 1.2,
        "plan_over_torch_eager": 0.5,
        "batched_over_alone": 1.4,
        "padding_share": 0.2,
        "warm_start_s": 2.5,
    }
    verdicts = {name: script.reached(*script.TARGETS[name], got.get(name)) for name in script.TARGETS}
    assert verdicts == {
        "plan_over_matrix_products": True,
        "plan_over_torch_eager": True,
        "plan_over_onnx_runtime": None,
        "batched_over_alone": False,
        "padding_share": True,
        "warm_start_s": True,
    }
    assert script.reached("below", 1.0, 1.0) is False


def test_the_table_says_what_was_skipped_and_why():
    asked = {name: {kind: limit, "found": None, "reached": None} for name, (kind, limit) in script.TARGETS.items()}
    console = Console(record=True, width=140, file=io.StringIO())
    console.print(script.table({**MEASURED, "asked_for": asked}))
    text = console.export_text()
    for words in ("plan, p50 / p95", "12.0 / 20.0 ms", "No module named", "not measured", "at most 1.3"):
        assert words in text


def test_contenders_take_turns_and_the_first_round_does_not_count():
    calls = []
    contenders = {name: lambda i, name=name: calls.append((name, i)) for name in "ab"}
    times = process.timed_in_turn(contenders, 2)
    assert calls == [("a", 0), ("b", 0), ("a", 1), ("b", 1)] * 2
    assert {name: len(t) for name, t in times.items()} == {"a": 2, "b": 2}
    assert [process.padded(n) for n in (1, 16, 17)] == [16, 16, 32]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_whole_script_with_a_tiny_planner(public_data, tmp_path, monkeypatch):
    monkeypatch.setenv("ORCHESTAI_DATA", str(public_data("ultratool/train.jsonl").parents[1]))
    got = script.main(["--quick", "--workdir", str(tmp_path)])
    written = json.loads((tmp_path / "plan_speed.json").read_text())
    assert written["ms"].keys() == {"plan", "matrix_products"}  # an encoder from scratch is nowhere else
    assert written["skipped"].keys() == {"torch_eager", "onnx_runtime"}
    assert 0 <= written["batched"]["padding_share"] < 1
    assert written["warm_start"]["n"] == 1
    assert np.isfinite(got["asked_for"]["warm_start_s"]["found"])
