"""Int8Array and BinaryArray against NumPy."""

import dataclasses
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from orchestai_kernels.arrays import (
    BinaryArray,
    Int8Array,
    binarize,
    dequantize_int8,
    pack_binary,
    quantize_int8,
    unpack_binary,
)


@pytest.mark.parametrize("block", [None, 1, 5, 20])
def test_int8_is_within_half_a_step(block):
    x = (
        np.random.default_rng(0).normal(size=(2, 3, 20)).astype(np.float32)
        * np.float32(10.0) ** np.arange(-2, 1)[:, None]
    )
    array = quantize_int8(x, block).validate()
    largest = np.abs(x.reshape(2, 3, -1, block or 20)).max(-1)
    np.testing.assert_allclose(array.scale, largest[..., 0] / 127 if block is None else largest / 127, rtol=1e-6)
    step = np.repeat(largest / 127, block or 20, axis=-1)
    assert (np.abs(dequantize_int8(array) - x.astype(np.float64)) <= 0.5001 * step).all()
    assert jax.vmap(dequantize_int8)(array).shape == x.shape


def test_int8_rows_of_zeros_and_rows_that_are_not_finite():
    x = np.array([[0, 0], [1, np.nan], [np.inf, 1], [2, -1]], np.float32)
    read = np.asarray(dequantize_int8(quantize_int8(x)))
    np.testing.assert_array_equal(read[0], 0)
    assert np.isnan(read[1:3]).all()
    np.testing.assert_allclose(read[3], [2, -1], atol=0.01)
    assert quantize_int8(np.zeros((2, 0), np.float32)).validate().shape == (2, 0)


def test_a_nan_in_a_large_array_is_not_lost():
    """As it is in XLA's maximum of so many numbers on a CPU."""
    x = np.ones((132, 37), np.float32)
    x[1, 5] = np.nan
    read = np.asarray(dequantize_int8(quantize_int8(x)))
    assert np.isnan(read[1]).all()
    np.testing.assert_allclose(np.delete(read, 1, 0), 1, rtol=1e-6)


def test_what_int8_refuses():
    array = quantize_int8(np.ones((2, 6), np.float32))
    with pytest.raises(ValueError, match="block must divide the columns: 4 does not divide 6"):
        quantize_int8(np.ones((2, 6), np.float32), 4)
    with pytest.raises(ValueError, match=r"values must lie in -127 .. 127, got -128"):
        Int8Array(jnp.full((2, 6), -128, jnp.int8), array.scale).validate()
    with pytest.raises(ValueError, match=r"scale's shape must be \(2, 3\), got \(2,\)"):
        dataclasses.replace(array, block=2).validate()
    with pytest.raises(ValueError, match="values' dtype must be int8, got int32"):
        dataclasses.replace(array, values=array.values.astype(jnp.int32)).validate()


def test_binary():
    weights = np.random.default_rng(1).normal(size=(2, 3, 13)).astype(np.float32) + 0.3
    values, scale = binarize(weights)
    means = weights.mean(axis=(1, 2), keepdims=True)
    np.testing.assert_array_equal(values, np.where(weights > means, 1, -1))
    np.testing.assert_allclose(scale, np.abs(weights).mean(axis=(1, 2)), rtol=1e-6)
    packed = pack_binary(values, scale).validate()
    assert packed.bits.shape == (2, 3, 2)
    bits = np.unpackbits(np.asarray(packed.bits), axis=-1, bitorder="little")
    np.testing.assert_array_equal(bits[..., :13], np.asarray(values) > 0)
    np.testing.assert_array_equal(unpack_binary(packed), values)
    assert packed.shape == weights.shape


def test_what_binary_refuses():
    packed = pack_binary(np.ones((2, 3), np.int8), 1.0)
    with pytest.raises(ValueError, match="values must be -1 or 1, got 0"):
        pack_binary(np.array([[1, 0]], np.int8), 1.0)
    with pytest.raises(ValueError, match=r"scale must have shape \(\)"):
        pack_binary(np.ones((2, 3), np.int8), np.ones(2))
    for refused in (lambda x: inspect.unwrap(pack_binary)(x, 1.0), inspect.unwrap(binarize)):
        with pytest.raises(ValueError, match=r"must be \[\*batch, rows, columns\], got shape \(4,\)"):
            refused(np.ones(4, np.int8))
    assert binarize(np.zeros((0, 3), np.float32))[1] == 0
    with pytest.raises(ValueError, match="padding beyond column 3 must be 0"):
        BinaryArray(jnp.full((2, 1), 0xFF, jnp.uint8), packed.scale, (2, 3)).validate()
    with pytest.raises(ValueError, match=r"must be \(2, 2\), got \(2, 1\)"):
        BinaryArray(packed.bits, packed.scale, (2, 9)).validate()
