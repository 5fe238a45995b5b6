"""encode and decode: errors as NumPy measures them, ratios as bytes count, refusals."""

import hypothesis
import hypothesis.extra.numpy
import hypothesis.strategies as st
import jax
import numpy as np
import pytest

from orchestai_jax.optimization.semantic_compression import decode, encode


def norm_error(decoded, x):
    return np.linalg.norm(np.asarray(decoded, np.float64) - x) / max(np.linalg.norm(x.astype(np.float64)), 1e-300)


def low_rank(rows, columns, rank, noise, seed=0):
    rng = np.random.default_rng(seed)
    product = rng.normal(size=(rows, rank)) @ rng.normal(size=(rank, columns))
    return (product + noise * rng.normal(size=product.shape)).astype(np.float32)


@hypothesis.settings(max_examples=20, deadline=None)
@hypothesis.given(
    x=hypothesis.extra.numpy.arrays(
        np.float32,
        st.sampled_from([(64,), (4, 4, 16)]),
        elements=st.floats(-1e6, 1e6, width=32).map(lambda v: 0.0 if abs(v) < 1e-3 else v),
    ),
    ratio=st.sampled_from([0.3, 0.4, 1.0]),
    block=st.sampled_from([32, 64]),
)
def test_the_error_and_the_ratio_that_it_reports_are_those_it_made(x, ratio, block):
    try:
        encoded = encode(x, compression_ratio=ratio, block_size=block, max_error=1.0)
    except ValueError:
        hypothesis.assume(ratio >= 0.25 + 1 / block)
        raise
    assert encoded.relative_error == pytest.approx(norm_error(decode(encoded), x), rel=1e-3, abs=1e-9)
    assert encoded.nbytes == sum(np.asarray(leaf).nbytes for leaf in jax.tree.leaves(encoded))
    assert encoded.compression_ratio == encoded.nbytes / (4 * x.size) <= ratio
    assert decode(encoded).shape == x.shape


def test_each_method_is_taken_where_it_errs_least():
    noise = np.random.default_rng(0).normal(size=(96, 128)).astype(np.float32)
    plain = encode(noise)
    assert plain.method == "blocks"
    assert plain.compression_ratio == 0.265625
    assert plain.relative_error < 0.01
    thin = encode(low_rank(96, 128, 2, 0.01), compression_ratio=0.05)  # out of reach for blocks
    assert thin.method == "low_rank"
    assert thin.compression_ratio <= 0.05
    assert thin.relative_error < 0.02
    both = encode(low_rank(96, 128, 1, 0.01), compression_ratio=0.3)
    assert both.method == "low_rank_and_blocks"
    assert both.compression_ratio <= 0.3
    assert both.relative_error < 0.3 * encode(low_rank(96, 128, 1, 0.01), compression_ratio=0.266).relative_error


def test_what_is_refused_and_that_it_says_what_could_be_had():
    noise = np.random.default_rng(0).normal(size=(96, 128)).astype(np.float32)
    with pytest.raises(
        ValueError, match=r"compression_ratio 0.1 cannot be reached .* float32\[96, 128\] .* blocks takes 0\.266"
    ):
        encode(noise, compression_ratio=0.1)
    with pytest.raises(ValueError, match=r"low_rank takes 0\.09\d with relative error 0\.[5-9]"):
        encode(noise, compression_ratio=0.1)
    with pytest.raises(ValueError, match=r"blocks takes 0\.312"):
        encode(noise, block_size=16)
    with pytest.raises(ValueError, match="x must be finite"):
        encode(np.array([1, np.nan], np.float32))
    with pytest.raises(ValueError, match="compression_ratio must be over 0 and at most 1, got 0"):
        encode(noise, compression_ratio=0)
    with pytest.raises(ValueError, match="block_size must be at least 1, got 0"):
        encode(noise, block_size=0)


def test_zeros_and_small_arrays():
    assert encode(np.zeros((8, 64), np.float32)).relative_error == 0
    assert encode(np.ones(64, np.float32)).relative_error < 1e-6
    with pytest.raises(ValueError, match="cannot be reached"):
        encode(np.ones(3, np.float32))  # a block of 64 for three numbers
