"""Calibration error and abstention, against definitions written out, and against data that is calibrated by making."""

import numpy as np
import pytest

from orchestai_jax.evaluation import abstention_curve, calibration_error


def test_bins_of_equal_size_by_hand():
    confidences = np.array([0.9, 0.1, 0.2, 0.8])
    outcomes = np.array([True, False, True, False])
    # two bins: {0.1, 0.2} with accuracy 1/2, {0.8, 0.9} with accuracy 1/2
    found = calibration_error(confidences, outcomes, bins=2)
    assert found["ece"] == pytest.approx((abs(0.15 - 0.5) + abs(0.85 - 0.5)) / 2)
    # squared distance .1225 less the variance of a mean of two, .25 / 1
    assert found["ece_debiased"] == 0
    one = calibration_error(confidences, outcomes, bins=1)
    assert one["ece"] == pytest.approx(0.0)


def test_what_is_calibrated_has_little_error_and_what_is_not_has_what_it_has():
    rng = np.random.default_rng(0)
    p = rng.random(5_000)
    right = rng.random(5_000) < p
    assert calibration_error(p, right)["ece"] < 0.03
    assert calibration_error(p, right)["ece_debiased"] < 0.02
    low = rng.uniform(0.0, 0.5, 5_000)
    shifted = calibration_error(low + 0.3, rng.random(5_000) < low)
    assert shifted["ece"] == pytest.approx(0.3, abs=0.02)
    assert shifted["ece_debiased"] == pytest.approx(0.3, abs=0.02)


def test_few_samples_raise_the_plain_error_and_not_the_debiased_one():
    rng = np.random.default_rng(1)
    plain, debiased = [], []
    for _ in range(300):
        p = rng.uniform(0.3, 0.9, 60)
        found = calibration_error(p, rng.random(60) < p)
        plain.append(found["ece"])
        debiased.append(found["ece_debiased"] ** 2)
    assert np.mean(plain) > 0.1
    assert np.mean(debiased) < 0.012


def test_the_most_confident_first():
    confidences = np.array([0.2, 0.9, 0.5, 0.8])
    outcomes = np.array([False, True, False, True])
    curve = abstention_curve(confidences, outcomes, points=4)
    assert [c["coverage"] for c in curve] == [0.25, 0.5, 0.75, 1.0]
    assert [c["accuracy"] for c in curve] == pytest.approx([1, 1, 2 / 3, 0.5])
    assert [c["least_confidence"] for c in curve] == [0.9, 0.8, 0.5, 0.2]


@pytest.mark.parametrize("function", [calibration_error, abstention_curve])
def test_nothing_to_judge_is_refused(function):
    with pytest.raises(ValueError, match="0 confidences"):
        function(np.array([]), np.array([], bool))
