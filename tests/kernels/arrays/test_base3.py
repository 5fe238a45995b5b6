"""The five-to-a-byte storage against Python's integers."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from orchestai_kernels.arrays import pack_base3, unpack_base3


@hypothesis.settings(max_examples=20, deadline=None)
@hypothesis.given(st.sampled_from([(1, 1), (3, 5), (7, 9)]), st.integers(0, 2**32 - 1))
def test_bytes_are_base_3_numbers(shape, seed):
    rows, columns = shape
    values = np.random.default_rng(seed).integers(-1, 2, (rows, columns)).astype(np.int8)
    packed = pack_base3(values)
    digits = [int(v) + 1 for v in values.reshape(-1)]
    digits += [1] * (-len(digits) % 5)
    wanted = [int("".join(map(str, reversed(digits[i : i + 5]))), 3) for i in range(0, len(digits), 5)]
    assert packed.tolist() == wanted
    np.testing.assert_array_equal(unpack_base3(packed, (rows, columns)), values)


def test_stacked_and_empty_matrices():
    values = np.random.default_rng(0).integers(-1, 2, (2, 3, 4, 5)).astype(np.int8)
    packed = pack_base3(values)
    assert packed.shape == (2, 3, 4)  # 1.6 bits a weight
    np.testing.assert_array_equal(unpack_base3(packed, (4, 5)), values)
    assert pack_base3(np.zeros((0, 4), np.int8)).shape == (0,)
    assert unpack_base3(np.zeros(0, np.uint8), (0, 4)).shape == (0, 4)


def test_what_is_refused():
    with pytest.raises(ValueError, match="at most 242"):
        unpack_base3(np.array([243], np.uint8), (1, 5))
    with pytest.raises(ValueError, match=r"packed must hold 2 bytes for shape \(2, 3\), got 1"):
        unpack_base3(np.array([0], np.uint8), (2, 3))
    with pytest.raises(ValueError, match="values must be -1, 0 or 1, got values from -2 to 0"):
        pack_base3(np.array([[-2, 0]], np.int8))
