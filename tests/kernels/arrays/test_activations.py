"""Quantised activations against NumPy, extremes included."""

import hypothesis
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis.extra import numpy as hnp
from orchestai_kernels.arrays import dequantize_activations, quantize_activations


@hypothesis.settings(max_examples=50, deadline=None)
@hypothesis.given(hnp.arrays(np.float32, (3, 5), elements={"min_value": -(2.0**126), "max_value": 2.0**126}))
def test_the_rule_and_its_bounds(x):
    q, s = quantize_activations(jnp.asarray(x))
    a = np.maximum(np.abs(x).max(-1), np.float32(1e-5))
    scale = np.float32(127) / a
    np.testing.assert_array_equal(s, scale)
    np.testing.assert_array_equal(q, np.round(x * scale[:, None]).astype(np.int8))
    assert np.abs(np.asarray(q, np.int32)).max() <= 127
    step = a.astype(np.float64) / 127
    assert (np.abs(dequantize_activations(q, s) - x.astype(np.float64)) <= 0.5001 * step[:, None]).all()


def test_ties_go_to_even():
    q, _ = quantize_activations(jnp.array([[127, 0.5, 1.5, 2.5, -0.5, -1.5]]))
    np.testing.assert_array_equal(q, [[127, 0, 2, 2, 0, -2]])


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_a_token_that_is_not_finite_reads_as_nan_and_leaves_the_others(wrong):
    for shape in ((2, 4), (6, 1500)):  # in the larger one XLA's maximum loses a NaN
        x = np.ones(shape, np.float32)
        x[0, 2] = wrong
        read = np.asarray(dequantize_activations(*quantize_activations(jnp.asarray(x))))
        assert np.isnan(read[0]).all()
        np.testing.assert_allclose(read[1:], 1, rtol=1e-6)


def test_bfloat16_is_read_in_float32_and_no_features_are_a_token_of_zeros():
    x = jnp.array([[1.0, 0.3, -0.7]], jnp.bfloat16)
    q, s = quantize_activations(x)
    assert s.dtype == jnp.float32
    np.testing.assert_array_equal(q, np.round(np.asarray(x, np.float32) * 127).astype(np.int8))
    q, s = quantize_activations(jnp.zeros((2, 0)))
    assert q.shape == (2, 0)
    np.testing.assert_allclose(s, 1.27e7)
