"""The script that measures `ternary_matmul`: what it makes of the times, and what it refuses."""

import json

import _ggml
import numpy as np
import pytest
import ternary_matmul_cpu as script


def seconds(**best):
    return {name: {"best_s": value} for name, value in best.items()}


MATRIX = {
    "packed_bytes": 1000,
    "tokens_1": seconds(ours_a=2.2, ours_b=3.0, read_0=2.0, read_1=2.5, xla_x=30.0, xla_y=22.0, llama_tq2_0=3.3),
    "tokens_128": seconds(ours_a=10.0, ours_b=9.0, xla_x=36.0, llama_tq2_0=18.0),
}


def test_the_best_of_each_side_is_compared():
    ratios = script.summary(MATRIX, {"loop_0": 400.0, "loop_1": 500.0})
    assert ratios == {
        "us": 2.2e6,
        "over_reading": 1.1,
        "over_buffer": 1.1,
        "xla_x": 10.0,
        "llama_x": pytest.approx(1.5),
        "ms_128": 9000.0,
        "xla_x_128": 4.0,
        "llama_x_128": 2.0,
    }


def test_without_llama_there_is_no_ratio_to_it():
    matrix = {**MATRIX, "tokens_1": seconds(ours_a=1.0, read_0=1.0, xla_x=9.0)}
    assert script.summary(matrix, {"loop_0": 1.0})["llama_x"] is None


def test_contenders_take_turns_after_a_round_that_does_not_count():
    calls = []
    times = script.take_turns({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 3, {"a": 2, "b": 1})
    assert calls == ["a", "b"] * 4
    assert len(times["a"]["rounds_s"]) == 3
    assert times["b"]["best_s"] == min(times["b"]["rounds_s"])


def test_a_wrong_result_ends_the_measuring():
    x, kind = np.full((1, 3), 127.0), np.ones((2, 3), np.int8)
    script.compare([x @ kind.T], x, [kind], exact=True)
    script.compare([x @ kind.T + 3], x, [kind], exact=False)
    with pytest.raises(ValueError, match=r"off by 1\.0, allowed are 0"):
        script.compare([x @ kind.T + 1], x, [kind], exact=True)
    with pytest.raises(ValueError, match=r"off by 10\.0"):
        script.compare([x @ kind.T + 10], x, [kind], exact=False)


def test_a_core_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match=r"--cpu must be one of \[.*\], got 4096"):
        script.measure(script.parse(["--cpu", "4096"]))


def test_both_kinds_of_pages_are_measured_and_written(monkeypatch, tmp_path):
    asked = []

    class Done:
        returncode = 0

    def run(command, *, env, **_):
        asked.append((command[-1], env["GLIBC_TUNABLES"]))
        done = Done()
        done.stdout = "noise\n" + json.dumps(
            {
                "large_buffer_bytes_per_s": {"loop_0": 500.0},
                "shapes": {"small": MATRIX},
                "int8_head": {"tokens_1": seconds(ours_a=1.0, read_0=0.8)},
            }
        )
        return done

    monkeypatch.setattr(script.subprocess, "run", run)
    monkeypatch.setattr(script, "describe_machine", dict)
    output = tmp_path / "folder" / "result.json"
    script.main(["--output", str(output)])
    assert asked == [("--measure", "glibc.malloc.hugetlb=0"), ("--measure", "glibc.malloc.hugetlb=1")]
    written = json.loads(output.read_text())
    assert written["pages"]["huge"]["shapes"]["small"]["summary"]["over_reading"] == 1.1
    assert written["pages"]["ordinary"]["int8_head"]["summary"] == {"ms": 1000.0, "over_reading": 1.25}


def test_without_llama_cpp_python_it_says_so(monkeypatch):
    monkeypatch.setattr(_ggml.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match="extra `llama`"):
        _ggml.Ggml()
