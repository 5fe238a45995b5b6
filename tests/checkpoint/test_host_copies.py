"""The copies of a state that are written while training goes on."""

import jax.numpy as jnp
import numpy as np
import pytest

from orchestai_jax.checkpoint.host_copies import HostCopies


@pytest.fixture
def copies():
    made = HostCopies()
    yield made
    made.close()


LARGE = (1200, 1500)  # above the piece that one thread copies at a time, and no multiple of it


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize("shape", [(), (0,), (3,), LARGE])
def test_a_copy_is_equal_and_its_own(copies, shape, dtype):
    array = np.asarray(jnp.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype))
    (copied,) = copies.of([array])
    assert copied.dtype == array.dtype
    np.testing.assert_array_equal(copied.astype(np.float32), array.astype(np.float32))
    assert not np.shares_memory(copied, array)


def test_rows_that_do_not_lie_one_after_another(copies):
    turned = np.arange(np.prod(LARGE), dtype=np.float64).reshape(LARGE).T[::2]
    (copied,) = copies.of([turned])
    np.testing.assert_array_equal(copied, turned)


def test_memory_is_used_again_for_the_same_shapes_alone(copies):
    first, second = (np.full(LARGE, value, np.float32) for value in (1, 2))
    (one,) = copies.of([first])
    (two,) = copies.of([second])
    assert two is one
    assert two[0, 0] == two[-1, -1] == 2
    (other,) = copies.of([second.astype(np.int32)])
    assert other.dtype == np.int32
    assert not np.shares_memory(other, one)
    np.testing.assert_array_equal(one, second)  # who still holds it keeps it
