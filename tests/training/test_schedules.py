import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from orchestai_jax.config import Phase1Config
from orchestai_jax.training import constant, learning_rates, warmup_cosine, warmup_linear, warmup_stable_decay

PEAK = 3e-4


FORMULAS = {  # of the share of the way from the end of the warm-up to the last step
    warmup_linear: lambda x: 1 - x,
    warmup_cosine: lambda x: (1 + math.cos(math.pi * x)) / 2,
    warmup_stable_decay: lambda x: min(1, (1 - x) / 0.2),
    constant: lambda x: 1.0,
}


@pytest.mark.parametrize("make", FORMULAS)
@pytest.mark.parametrize("as_traced", [False, True])
def test_exact_at_the_corners(make, as_traced):
    schedule = make(PEAK, 101, 10)
    traced = jax.jit(schedule)

    def at(step):
        return np.float32(traced(jnp.int32(step)) if as_traced else schedule(step))

    assert at(0) == 0
    assert at(10) == np.float32(PEAK)
    assert math.isclose(at(5), PEAK / 2, rel_tol=1e-6)
    assert math.isclose(at(9), PEAK * 0.9, rel_tol=1e-6)  # one before the joint, and one after it
    assert math.isclose(at(11), PEAK * FORMULAS[make](1 / 90), rel_tol=1e-5)
    end = np.float32(PEAK) if make is constant else 0
    assert at(100) == end  # the last step
    assert at(1000) == end
    assert at(0).dtype == np.float32
    for step in (28, 55, 82, 83, 99):
        assert math.isclose(at(step), PEAK * FORMULAS[make]((step - 10) / 90), rel_tol=2e-3), step
    if make is warmup_stable_decay:
        assert at(83) < 0.95 * np.float32(PEAK)


@pytest.mark.parametrize("make", FORMULAS)
def test_without_warmup_it_starts_at_the_peak(make):
    assert np.float32(make(PEAK, 10, 0)(0)) == np.float32(PEAK)
    assert np.float32(make(PEAK, 1, 0)(0)) == np.float32(PEAK)


def test_python_and_traced_steps_agree():
    for make in FORMULAS:
        schedule = make(PEAK, 37, 5)
        traced = jax.jit(jax.vmap(schedule))(jnp.arange(40))
        np.testing.assert_allclose(traced, [schedule(step) for step in range(40)], rtol=1e-5, atol=1e-6 * PEAK)


@pytest.mark.parametrize(("total", "warmup"), [(0, 0), (10, 10), (10, -1)])
def test_wrong_lengths(total, warmup):
    with pytest.raises(ValueError, match=f"warmup_steps is {warmup} of total_steps {total}"):
        warmup_linear(PEAK, total, warmup)


def test_the_share_that_falls():
    assert warmup_stable_decay(1.0, 11, 0, decay_fraction=0.5)(5) == 1
    assert warmup_stable_decay(1.0, 11, 0, decay_fraction=1.0)(5) == np.float32(0.5)
    with pytest.raises(ValueError, match="decay_fraction is 0"):
        warmup_stable_decay(1.0, 11, 0, decay_fraction=0)


def test_each_key_of_the_configuration_counts():
    base = learning_rates(Phase1Config(), 100)
    assert np.float32(base["planner"](6)) == np.float32(1e-3)
    assert np.float32(base["encoder"](6)) == np.float32(2e-4)
    assert learning_rates(Phase1Config(warmup_fraction=0.5), 100)["planner"](50) == np.float32(1e-3)
    assert learning_rates(Phase1Config(schedule="constant"), 100)["planner"](99) == np.float32(1e-3)
    assert learning_rates(Phase1Config(schedule="warmup_stable_decay"), 100)["planner"](80) == np.float32(1e-3)
    # Two steps an update: 50 updates, the warm-up's 6 % are 3 of them.
    assert learning_rates(Phase1Config(accumulate_steps=2), 100)["planner"](3) == np.float32(1e-3)
    assert learning_rates(Phase1Config(accumulate_steps=2), 100)["planner"](49) == 0
    assert learning_rates(Phase1Config(learning_rate=2.0), 100)["planner"](6) == 2
    assert learning_rates(Phase1Config(encoder_learning_rate=3.0), 100)["encoder"](6) == 3
    assert learning_rates(Phase1Config(warmup_fraction=0.99), 1)["planner"](0) == np.float32(1e-3)
