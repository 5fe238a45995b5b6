import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestai_jax.language_model.sampling import NOT_FINITE, Draws, Sampling, allowed_tokens, choose_tokens

LOGITS = np.random.default_rng(0).normal(size=(2, 6)).astype(np.float32)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.floats(0.05, 1.0), st.integers(0, 1000))
def test_allowed_tokens_are_those_of_the_definition(top_k, top_p, seed):
    logits = np.random.default_rng(seed).normal(size=(2, 6)).astype(np.float32)
    allowed = np.asarray(allowed_tokens(jnp.asarray(logits), jnp.full(2, top_k), jnp.full(2, top_p)))
    for row, kept in zip(logits.astype(np.float64), allowed, strict=True):
        order = np.argsort(-row)[:top_k]
        probabilities = np.exp(row[order]) / np.exp(row[order]).sum()
        before = np.cumsum(probabilities) - probabilities
        if (np.abs(before - top_p) < 1e-5).any():
            continue  # on the edge float32 may go either way
        assert set(np.flatnonzero(kept)) == set(order[(before < top_p) | (top_p >= 1)])


def test_greedy_takes_the_likeliest():
    draws = Draws.of([Sampling()] * 2, 6)
    assert choose_tokens(jnp.asarray(LOGITS), draws, 0).tolist() == LOGITS.argmax(1).tolist()
    assert choose_tokens(jnp.asarray(LOGITS), Draws.of([Sampling(1.0, top_k=1, seed=5)] * 2, 6), 3).tolist() == (
        LOGITS.argmax(1).tolist()
    )


def test_a_nan_among_many_logits_is_seen():
    logits = np.zeros((2, 20_000), np.float32)
    logits[0, 7] = np.nan
    assert choose_tokens(jnp.asarray(logits), Draws.of([Sampling()] * 2, 20_000), 0).tolist() == [NOT_FINITE, 0]


def test_draws_follow_the_probabilities():
    draws = Draws.of([Sampling(0.7, seed=seed) for seed in range(4000)], 6)
    logits = jnp.broadcast_to(jnp.asarray(LOGITS[0]), (4000, 6))
    counts = np.bincount(np.asarray(choose_tokens(logits, draws, 0)), minlength=6) / 4000
    expected = np.exp(LOGITS[0] / 0.7) / np.exp(LOGITS[0] / 0.7).sum()
    np.testing.assert_allclose(counts, expected, atol=0.03)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"temperature": -1.0}, "temperature must be 0 or more"),
        ({"temperature": float("nan")}, "temperature must be 0 or more"),
        ({"top_k": 0}, "top_k must be at least 1"),
        ({"top_p": 0.0}, "top_p must be over 0"),
        ({"seed": -1}, "seed must be from 0"),
    ],
)
def test_values_out_of_range(fields, message):
    with pytest.raises(ValueError, match=message):
        Sampling(**fields)
