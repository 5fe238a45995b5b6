"""TernaryArray against its layout written out in NumPy, byte by byte."""

import dataclasses
import inspect

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st
from orchestai_kernels.arrays import dequantize_ternary, pack_ternary, ternarize, unpack_ternary

SIZES = st.sampled_from([(1, 1), (31, 67), (64, 128)])


def packed_by_hand(values):
    """The layout as the docstring of TernaryArray states it: one weight at a time."""
    rows, columns = values.shape
    blocks, quads = -(-rows // 32), -(-columns // 64) * 16
    codes = np.zeros((blocks, quads, 32), np.uint8)
    for block in range(blocks):
        for quad in range(quads):
            for r in range(8):
                for kk in range(4):
                    for g in range(4):
                        row, column = 32 * block + 8 * g + r, 4 * quad + kk
                        value = values[row, column] if row < rows and column < columns else 0
                        codes[block, quad, r * 4 + kk] |= (int(value) + 1) << (2 * g)
    return codes


@pytest.mark.parametrize("shape", [(1, 1), (32, 64), (33, 65), (7, 131)])
def test_layout(shape):
    values = np.random.default_rng(0).integers(-1, 2, shape).astype(np.int8)
    np.testing.assert_array_equal(pack_ternary(values, 1.0).codes, packed_by_hand(values))


@hypothesis.settings(max_examples=12, deadline=None)
@hypothesis.given(SIZES, st.sampled_from([0, 2]), st.integers(0, 2**32 - 1))
def test_what_was_packed_comes_back(shape, batch, seed):
    rng = np.random.default_rng(seed)
    lead = (batch,) if batch else ()
    values = rng.integers(-1, 2, (*lead, *shape)).astype(np.int8)
    for scale in (rng.normal(size=lead), rng.normal(size=(*lead, shape[0]))):
        packed = pack_ternary(values, scale).validate()
        assert packed.shape == values.shape
        np.testing.assert_array_equal(unpack_ternary(packed), values)
        rows = np.broadcast_to(scale.reshape(*lead, -1), (*lead, shape[0]))
        np.testing.assert_allclose(dequantize_ternary(packed), values * rows[..., None], rtol=1e-6)


def test_absmean_rule_and_ties_to_even():
    # mean|W| is exactly 1: halves tie, and go to the even 0 and 2 (clamped to 1), not away from zero
    weights = np.array([[0.5, -0.5, 1.5, -1.5], [0.51, -0.49, 1.0, 2.0]], np.float32)
    assert np.abs(weights).mean() == 1
    values, scale = ternarize(weights)
    np.testing.assert_array_equal(values, [[0, 0, 1, -1], [1, 0, 1, 1]])
    assert scale == 1


def test_absmean_rule_against_torch():
    torch = pytest.importorskip("torch")
    weights = np.random.default_rng(1).normal(size=(3, 40, 50)).astype(np.float32) * 0.02
    values, scale = ternarize(weights)
    for matrix, value, m in zip(torch.tensor(weights), values, scale, strict=True):
        inverse = 1.0 / matrix.abs().mean().clamp_(min=1e-5)
        np.testing.assert_array_equal(value, (matrix * inverse).round().clamp(-1, 1).numpy())
        np.testing.assert_allclose(m, 1 / inverse.item(), rtol=1e-6)


def test_a_matrix_of_zeros_and_one_that_is_not_finite():
    values, scale = ternarize(np.zeros((4, 4), np.float32))
    assert not values.any()
    assert scale == np.float32(1e-5)
    for shape in ((3, 0), (0, 3)):
        values, scale = ternarize(np.zeros(shape, np.float32))
        assert values.shape == shape
        assert scale == np.float32(1e-5)
    for wrong in (np.nan, np.inf):
        weights = np.ones((2, 3), np.float32)
        weights[0, 1] = wrong
        _, scale = ternarize(weights)
        assert not np.isfinite(scale)


def test_stacked_matrices_go_through_scan_and_vmap():
    values = np.random.default_rng(2).integers(-1, 2, (3, 33, 70)).astype(np.int8)
    packed = pack_ternary(values, np.arange(3.0))
    _, scanned = jax.lax.scan(lambda carry, one: (carry, unpack_ternary(one)), 0, packed)
    np.testing.assert_array_equal(scanned, values)
    np.testing.assert_array_equal(jax.vmap(unpack_ternary)(packed), values)
    assert jax.vmap(pack_ternary)(jnp.asarray(values), jnp.arange(3.0)).validate().shape == values.shape


def with_code(packed, code, where):
    codes = np.array(packed.codes)
    codes[where] = code
    return dataclasses.replace(packed, codes=jnp.asarray(codes))


def test_what_validate_finds():
    packed = pack_ternary(np.zeros((5, 6), np.int8), np.ones(5))
    with pytest.raises(ValueError, match=r"codes must be 0, 1 or 2, got 3 in byte \(0, 1, 2\) of 1 such"):
        with_code(packed, 0b01_01_01_11, (0, 1, 2)).validate()
    with pytest.raises(ValueError, match="padding beyond 5 x 6 must have code 1"):
        with_code(packed, 0b01_01_00_01, (0, 0, 0)).validate()
    with pytest.raises(ValueError, match="codes' dtype must be uint8, got int8"):
        dataclasses.replace(packed, codes=packed.codes.astype(jnp.int8)).validate()
    with pytest.raises(ValueError, match="scale's dtype must be float32, got bfloat16"):
        dataclasses.replace(packed, scale=packed.scale.astype(jnp.bfloat16)).validate()
    with pytest.raises(ValueError, match=r"must be \(1, 32, 32\), got \(1, 16, 32\)"):
        dataclasses.replace(packed, matrix_shape=(5, 65)).validate()
    with pytest.raises(ValueError, match=r"scale's shape must be \(\), got \(5,\)"):
        dataclasses.replace(packed, axis=None).validate()
    with pytest.raises(ValueError, match="axis must be None or 0, got 1"):
        dataclasses.replace(packed, axis=1).validate()
    with pytest.raises(ValueError, match=r"codes must have at least 3 axes, got shape \(16, 32\)"):
        dataclasses.replace(packed, codes=packed.codes[0]).validate()


def test_what_pack_refuses():
    with pytest.raises(ValueError, match="values must be -1, 0 or 1, got values from 0 to 2"):
        pack_ternary(np.array([[0, 2]], np.int8), 1.0)
    for value in (0.5, np.nan):
        with pytest.raises(ValueError, match=r"values must be -1, 0 or 1, got (0\.5|values from nan to nan)"):
            inspect.unwrap(pack_ternary)(np.array([[0, value]], np.float32), 1.0)
    for refused in (lambda x: inspect.unwrap(pack_ternary)(x, 1.0), inspect.unwrap(ternarize)):
        with pytest.raises(ValueError, match=r"must be \[\*batch, rows, columns\], got shape \(4,\)"):
            refused(np.ones(4, np.int8))
    with pytest.raises(ValueError, match=r"scale must have shape \(\) or \(2,\)"):
        pack_ternary(np.zeros((2, 3), np.int8), np.ones(3))
