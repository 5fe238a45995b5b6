"""The script about the cost of monitoring: what it compares is what it says."""

import pytest

pytest.importorskip("psutil")

import monitoring_overhead

from orchestai_jax.config import load_run_config


def test_its_gates_are_those_of_the_optimized_configuration():
    config = load_run_config(monitoring_overhead.ROOT / "configs" / "lm_tinyshakespeare_optimized.yaml")
    assert config.optimization.safety_gates == monitoring_overhead.GATES


def test_shares_are_of_pairs():
    found = monitoring_overhead.compared([(10.0, 11.0), (20.0, 20.0), (40.0, 42.0)])
    assert (found["plain_ms"], found["monitored_ms"]) == (20, 20)
    assert found["share"] == pytest.approx(0.05)
    assert found["share_of_mean_95"][0] < 0.05 < found["share_of_mean_95"][1]


def test_saves_are_timed(tmp_path):
    state = monitoring_overhead.state_of(1600)
    assert sum(leaf.size for part in [state["params"], *state["opt_state"]] for leaf in part.values()) == 3 * 1600
    found = monitoring_overhead.measure_saves(tmp_path, state, 1)
    assert found["megabytes"] == 0.0
    assert [len(times) for times in found["all"].values()] == [1, 1]
    assert found["ratio"] > 0
