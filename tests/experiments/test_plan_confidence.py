"""Confidences on validation: scaling never sees what it is judged on, what is asked for, the size of the plot."""

import _plan_confidence as script
import numpy as np
import pytest

from orchestai_jax.evaluation import abstention_curve, calibration_error
from orchestai_jax.planner.calibration import fit_platt


@pytest.fixture
def pairs():
    """Probabilities that are too sure: right in p of the cases where they say p ** 0.3."""
    random = np.random.default_rng(0)
    true = random.uniform(0.05, 0.95, 500)
    return true**0.3, random.random(500) < true


def test_each_fifth_is_scaled_by_the_others(pairs):
    probabilities, outcomes = pairs
    got = script.cross_fitted(probabilities, outcomes, np.arange(500))
    for part in range(script.PARTS):
        held_out = np.arange(500) % script.PARTS == part
        fitted = fit_platt(probabilities[~held_out].tolist(), outcomes[~held_out].tolist())
        assert got[held_out] == pytest.approx([fitted(p) for p in probabilities[held_out]])
    before, after = (calibration_error(p, outcomes)["ece"] for p in (probabilities, got))
    assert before > 0.2
    assert after < 0.08


def _measured(confidences, outcomes):
    return {
        "plan": calibration_error(confidences, outcomes),
        "task": calibration_error(confidences, outcomes),
        "abstention": abstention_curve(confidences, outcomes, points=20),
        "pairs": list(zip(confidences.tolist(), outcomes.tolist(), strict=True)),
    }


def test_what_is_asked_for_is_judged_over_all_seeds():
    confidences = np.repeat([0.95, 0.45], 100)
    right = np.r_[np.arange(100) < 95, np.arange(100) < 45]
    good, bad = _measured(confidences, right), _measured(confidences, ~right)
    got = script.summary([good])
    assert got["accuracy_of_surest_half"] == pytest.approx(0.95)
    assert got["asked_for"]["accuracy_of_surest_half"]["reached"]
    worse = script.summary([good, bad])
    assert worse["accuracy_of_surest_half"] == pytest.approx((0.95 + 0.05) / 2)
    assert not worse["asked_for"]["accuracy_of_surest_half"]["reached"]
    assert not worse["asked_for"]["calibration_error"]["reached"]


def test_the_plot_is_small(pairs, tmp_path):
    pytest.importorskip("matplotlib")
    path = tmp_path / "images" / "confidence.png"
    script.plot([_measured(*pairs)] * 3, path, "toy")
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.stat().st_size < 200_000
