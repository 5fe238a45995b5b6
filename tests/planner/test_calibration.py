"""Confidences: the scaling against scipy's minimiser and against what data was made with, and where it is used."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from orchestai_jax.planner.calibration import Calibration, PlattScaling, fit_platt


def logit(p):
    return np.log(p) - np.log1p(-p)


def test_the_scaling_that_made_the_outcomes_is_found():
    rng = np.random.default_rng(0)
    p = rng.uniform(0.02, 0.98, 20_000)
    outcomes = rng.random(20_000) < 1 / (1 + np.exp(-(0.4 * logit(p) + 0.7)))
    fitted = fit_platt(p.tolist(), outcomes.tolist())
    assert fitted.scale == pytest.approx(0.4, abs=0.03)
    assert fitted.bias == pytest.approx(0.7, abs=0.05)
    calibrated = np.array([fitted(x) for x in p])
    assert calibrated.mean() == pytest.approx(outcomes.mean(), abs=0.01)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(0.001, 0.999), st.booleans()), min_size=3, max_size=40))
def test_least_cross_entropy_as_scipy_finds_it(pairs):
    p, outcomes = (list(x) for x in zip(*pairs, strict=True))
    fitted = fit_platt(p, outcomes)
    x, y = logit(np.array(p)), np.array(outcomes)
    target = np.where(y, (y.sum() + 1) / (y.sum() + 2), 1 / ((~y).sum() + 2))

    def loss(w):
        z = w[0] * x + w[1]
        q = 1 / (1 + np.exp(-z))
        nll = -np.sum(target * np.log(q + 1e-300) + (1 - target) * np.log(1 - q + 1e-300))
        return nll + 0.5e-3 * ((w[0] - 1) ** 2 + w[1] ** 2)

    free = optimize.minimize(loss, [1.0, 0.0], method="BFGS").x
    if free[0] > 1e-3:
        assert loss((fitted.scale, fitted.bias)) <= loss(free) + 1e-4
    elif free[0] < -1e-3:  # never a confidence that falls as the probability rises
        assert fitted.scale == 0
        assert fitted(0.5) == pytest.approx(target.mean())


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 5), st.floats(-5, 5))
def test_a_confidence_is_a_probability_and_keeps_the_order(low, high, scale, bias):
    low, high = sorted((low, high))
    scaling = PlattScaling(scale, bias)
    assert 0 < scaling(low) <= scaling(high) < 1


def test_nothing_fitted_changes_nothing():
    assert fit_platt([], []) == PlattScaling()
    assert Calibration.from_metrics({"score": 0.5}) == Calibration()
    for p in (0.01, 0.5, 0.93):
        assert Calibration().task(p) == pytest.approx(p)
    with pytest.raises(ValueError, match="2 probabilities for 1 outcomes"):
        fit_platt([0.5, 0.5], [True])


def test_outcomes_that_are_all_the_same_stay_short_of_certain():
    fitted = fit_platt([0.9] * 30, [True] * 30)
    assert 0.9 < fitted(0.9) < 1


def test_as_numbers_and_back():
    calibration = Calibration(PlattScaling(0.5, 0.25), PlattScaling(2.0, -1.0))
    assert Calibration.from_metrics({**calibration.to_metrics(), "score": 0.1}) == calibration


def test_a_planner_says_calibrated_confidences(planner, monkeypatch):
    monkeypatch.setattr(planner, "calibration", Calibration())
    raw = planner.plan("translate the text")
    scaling = Calibration(PlattScaling(0.5, 0.3), PlattScaling(0.25, -0.5))
    monkeypatch.setattr(planner, "calibration", scaling)
    scaled = planner.plan("translate the text")
    assert scaled.confidence == pytest.approx(scaling.plan(raw.confidence), rel=1e-5)
    for before, after in zip(raw.tasks, scaled.tasks, strict=True):
        assert after.confidence == pytest.approx(scaling.task(before.confidence), rel=1e-5)
