"""Streaming metrics against scikit-learn, whole and in parts."""

import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestai_jax.evaluation import ConfusionMatrix, Perplexity, TopK

sklearn = pytest.importorskip("sklearn.metrics")
LENGTH, CLASSES = 60, 6
AVERAGES = ("macro", "micro", "weighted")

update_matrix = jax.jit(ConfusionMatrix.update)
update_top = jax.jit(TopK.update)
update_perplexity = jax.jit(Perplexity.update)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    used=st.integers(1, CLASSES),
    predicted=st.integers(1, CLASSES),
    parts=st.integers(1, 4),
)
def test_classification_is_scikit_learns(seed, used, predicted, parts):
    """Classes that never occur and classes that are never predicted among them."""
    rng = np.random.default_rng(seed)
    labels, predictions = rng.integers(0, used, LENGTH), rng.integers(0, predicted, LENGTH)
    mask = rng.random(LENGTH) < 0.8
    mask[0] = True
    owners = rng.integers(0, parts, LENGTH)
    collected = [
        update_matrix(ConfusionMatrix.empty(CLASSES), labels, predictions, mask & (owners == part))
        for part in range(parts)
    ]
    matrix = functools.reduce(ConfusionMatrix.merge, collected)
    true, found = labels[mask], predictions[mask]
    np.testing.assert_array_equal(matrix.counts, sklearn.confusion_matrix(true, found, labels=range(CLASSES)))
    assert matrix.accuracy() == pytest.approx(sklearn.accuracy_score(true, found), abs=1e-6)
    for average in AVERAGES:
        for name in ("precision", "recall", "f1"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                expected = getattr(sklearn, f"{name}_score")(true, found, average=average, zero_division=0)
            assert getattr(matrix, name)(average) == pytest.approx(expected, abs=1e-6), (name, average)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), k=st.integers(1, CLASSES - 1), ties=st.booleans())
def test_top_k_is_scikit_learns(seed, k, ties):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, LENGTH)
    scores = rng.normal(size=(LENGTH, CLASSES)).astype(np.float32)
    scores = np.round(scores) if ties else scores
    half = np.arange(LENGTH) < LENGTH // 2
    top = update_top(TopK.empty(k), labels, scores, half).merge(update_top(TopK.empty(k), labels, scores, ~half))
    expected = sklearn.top_k_accuracy_score(labels, scores, k=k, labels=range(CLASSES))
    assert top.accuracy() == pytest.approx(expected, abs=1e-6)


def test_perplexity_is_scikit_learns_log_loss():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 30, (20, 11))
    logits = (rng.normal(size=(20, 11, 30)) * 3).astype(np.float32)
    mask = rng.random((20, 11)) < 0.7
    seen = Perplexity.empty()
    for row in range(20):
        seen = update_perplexity(seen, labels[row], logits[row], mask[row])
    p = np.exp(logits.astype(np.float64)) / np.exp(logits.astype(np.float64)).sum(-1, keepdims=True)
    expected = sklearn.log_loss(labels[mask], p[mask], labels=range(30))
    assert seen.mean_loss() == pytest.approx(expected, abs=1e-6)
    assert seen.perplexity() == pytest.approx(np.exp(expected), rel=1e-6)


def test_long_sums_keep_their_bits():
    """Two million tokens of the same loss: a plain float32 sum is off by percents of what each adds."""
    logits, labels = jnp.zeros((1, 3)), jnp.zeros(1, jnp.int32)

    def more(seen, _):
        return seen.update(labels, logits), None

    seen, _ = jax.jit(lambda: jax.lax.scan(more, Perplexity.empty(), None, length=2_000_000))()
    assert seen.mean_loss() == pytest.approx(np.log(3), abs=1e-6)


def test_they_merge_over_devices():
    """With the collective that a mapped axis has; here over a vmapped one."""
    rng = np.random.default_rng(0)
    labels, predictions = rng.integers(0, 3, (4, 10)), rng.integers(0, 3, (4, 10))

    def of_device(labels, predictions):
        return ConfusionMatrix.empty(3).update(labels, predictions).reduce("devices")

    merged = jax.vmap(of_device, axis_name="devices")(labels, predictions)
    expected = sklearn.confusion_matrix(labels.ravel(), predictions.ravel())
    for device in range(4):
        np.testing.assert_array_equal(merged.counts[device], expected)


def test_nothing_seen_and_wrong_words():
    matrix = ConfusionMatrix.empty(3)
    assert [matrix.accuracy(), matrix.f1("macro"), matrix.f1("weighted"), matrix.recall("micro")] == [0, 0, 0, 0]
    assert TopK.empty(2).accuracy() == 0
    assert (Perplexity.empty().mean_loss(), Perplexity.empty().perplexity()) == (0, 1)
    huge = Perplexity.empty().update(jnp.zeros(1, jnp.int32), jnp.array([[0.0, 1000.0]]))
    assert huge.perplexity() == np.inf
    with pytest.raises((ValueError, TypeError), match="samples"):  # the tests' type checks come first
        matrix.f1("samples")
