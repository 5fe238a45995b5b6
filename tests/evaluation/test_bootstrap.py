"""Bootstrap intervals, against the normal approximation and against scipy."""

import numpy as np
import pytest

from orchestai_jax.evaluation import bootstrap_interval, pooled_f1


def test_the_interval_is_that_of_the_normal_approximation_for_many_samples():
    values = np.random.default_rng(1).normal(3.0, 2.0, size=2000)
    low, high = bootstrap_interval(values)
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_the_interval_agrees_with_scipy():
    stats = pytest.importorskip("scipy.stats")
    values = np.random.default_rng(2).random(150) < 0.7
    theirs = stats.bootstrap(
        (values.astype(float),), np.mean, n_resamples=20000, method="percentile", rng=np.random.default_rng(3)
    ).confidence_interval
    assert bootstrap_interval(values, resamples=20000) == pytest.approx((theirs.low, theirs.high), abs=0.007)


def test_more_confidence_is_wider_and_the_seed_decides():
    values = np.random.default_rng(4).random(100)
    narrow, wide = bootstrap_interval(values, confidence=0.5), bootstrap_interval(values, confidence=0.99)
    assert wide[0] < narrow[0] < values.mean() < narrow[1] < wide[1]
    assert bootstrap_interval(values, seed=7) == bootstrap_interval(values, seed=7) != bootstrap_interval(values)


def test_no_spread_and_a_single_sample_have_no_width():
    assert bootstrap_interval([0.5] * 20) == (0.5, 0.5)
    assert bootstrap_interval([0.25]) == (0.25, 0.25)


def test_blocks_of_resamples_do_not_change_the_interval(monkeypatch):
    values = np.random.default_rng(5).random(60)
    whole = bootstrap_interval(values)
    monkeypatch.setattr("orchestai_jax.evaluation.bootstrap._BLOCK_ELEMENTS", 700)
    assert bootstrap_interval(values) == whole


def test_a_statistic_of_columns_resamples_their_rows_together():
    counts = np.random.default_rng(6).integers(0, 4, size=(80, 3)).astype(float)
    counts[:, 0] = np.minimum(counts[:, 0], counts[:, 1:].min(axis=1))
    low, high = bootstrap_interval(counts, statistic=pooled_f1)
    both, predicted, gold = counts.sum(axis=0)
    assert low < 2 * both / (predicted + gold) < high
    perfect = np.repeat(counts[:, 1:2], 3, axis=1)
    assert bootstrap_interval(perfect, statistic=pooled_f1) == (1.0, 1.0)


@pytest.mark.parametrize(
    "values,settings,message",
    [
        ([], {}, "at least 1 sample"),
        ([1.0, np.nan], {}, "NaN"),
        ([1.0], {"confidence": 95}, "confidence is 95"),
        ([1.0], {"resamples": 0}, "resamples is 0"),
        ([[1.0, 2.0]], {}, "2 columns"),
    ],
)
def test_bad_input_is_named(values, settings, message):
    with pytest.raises(ValueError, match=message):
        bootstrap_interval(values, **settings)
