import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from orchestai_jax.config import Phase1Config
from orchestai_jax.training import constant, learning_rates, warmup_cosine, warmup_linear

PEAK = 3e-4


@pytest.mark.parametrize("make", [warmup_linear, warmup_cosine, constant])
@pytest.mark.parametrize("as_traced", [False, True])
def test_exact_at_the_corners(make, as_traced):
    schedule = make(PEAK, 100, 10)
    traced = jax.jit(schedule)

    def at(step):
        return np.float32(traced(jnp.int32(step)) if as_traced else schedule(step))

    assert at(0) == 0
    assert at(10) == np.float32(PEAK)
    assert math.isclose(at(5), PEAK / 2, rel_tol=1e-6)
    end = np.float32(PEAK) if make is constant else 0
    assert at(100) == end
    assert at(1000) == end
    assert at(0).dtype == np.float32
    halfway = {warmup_linear: 0.5, warmup_cosine: 0.5, constant: 1}[make]
    assert math.isclose(at(55), PEAK * halfway, rel_tol=1e-5)
    last = {warmup_linear: 1 / 90, warmup_cosine: (1 + math.cos(math.pi * 89 / 90)) / 2, constant: 1}[make]
    assert math.isclose(at(99), PEAK * last, rel_tol=2e-3)


@pytest.mark.parametrize("make", [warmup_linear, warmup_cosine, constant])
def test_without_warmup_it_starts_at_the_peak(make):
    assert np.float32(make(PEAK, 10, 0)(0)) == np.float32(PEAK)
    assert np.float32(make(PEAK, 1, 0)(0)) == np.float32(PEAK)


def test_python_and_traced_steps_agree():
    for make in (warmup_linear, warmup_cosine, constant):
        schedule = make(PEAK, 37, 5)
        traced = jax.jit(jax.vmap(schedule))(jnp.arange(40))
        np.testing.assert_allclose(traced, [schedule(step) for step in range(40)], rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize(("total", "warmup"), [(0, 0), (10, 10), (10, -1)])
def test_wrong_lengths(total, warmup):
    with pytest.raises(ValueError, match=f"warmup_steps is {warmup} of total_steps {total}"):
        warmup_linear(PEAK, total, warmup)


def test_each_key_of_the_configuration_counts():
    base = learning_rates(Phase1Config(), 100)
    assert np.float32(base["planner"](6)) == np.float32(1e-3)
    assert np.float32(base["encoder"](6)) == np.float32(2e-4)
    assert learning_rates(Phase1Config(warmup_fraction=0.5), 100)["planner"](50) == np.float32(1e-3)
    assert learning_rates(Phase1Config(schedule="constant"), 100)["planner"](99) == np.float32(1e-3)
    assert learning_rates(Phase1Config(learning_rate=2.0), 100)["planner"](6) == 2
    assert learning_rates(Phase1Config(encoder_learning_rate=3.0), 100)["encoder"](6) == 3
    assert learning_rates(Phase1Config(warmup_fraction=0.99), 1)["planner"](0) == np.float32(1e-3)
