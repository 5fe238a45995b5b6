"""The script about the cost of monitoring: what it compares is what it says."""

import pytest

pytest.importorskip("psutil")

import jax.numpy as jnp
import monitoring_overhead


def test_gates_refuse_what_is_out_of_bounds():
    good = {"loss": jnp.float32(2), "gradient_norm": jnp.float32(1)}
    assert bool(monitoring_overhead.accept(good))
    for name, value in (("loss", 11), ("loss", float("nan")), ("gradient_norm", 0), ("gradient_norm", 11)):
        assert not bool(monitoring_overhead.accept({**good, name: jnp.float32(value)}))


def test_saves_are_timed(tmp_path):
    state = monitoring_overhead.state_of(1600)
    assert sum(leaf.size for part in [state["params"], *state["opt_state"]] for leaf in part.values()) == 3 * 1600
    found = monitoring_overhead.measure_saves(tmp_path, state, 1)
    assert found["megabytes"] == 0.0
    assert [len(times) for times in found["all"].values()] == [1, 1]
    assert found["ratio"] > 0
