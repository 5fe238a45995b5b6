import gc

import pytest

from orchestai_jax.execution._collector import MOST, OF_A_TASK, rare_collections


@pytest.fixture(autouse=True)
def thresholds():
    before = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    yield
    gc.set_threshold(*before)


def young():
    return gc.get_threshold()[0]


def test_collections_are_as_rare_as_the_largest_run_that_goes_on_wants():
    small, large, huge = rare_collections(100), rare_collections(500), rare_collections(10**6)
    small.__enter__()
    assert gc.get_threshold() == (100 * OF_A_TASK, 10, 10)
    large.__enter__()
    assert young() == 500 * OF_A_TASK
    huge.__enter__()
    assert young() == MOST
    huge.__exit__(None, None, None)
    small.__exit__(None, None, None)
    assert young() == 500 * OF_A_TASK
    large.__exit__(None, None, None)
    assert gc.get_threshold() == (700, 10, 10)
    with pytest.raises(RuntimeError), rare_collections(500):
        raise RuntimeError
    assert gc.get_threshold() == (700, 10, 10)


def test_a_small_run_changes_nothing():
    with rare_collections(700 // OF_A_TASK):
        assert young() == 700


@pytest.mark.parametrize("own", [(0, 10, 10), (MOST + 1, 5, 5)])
def test_a_program_that_collects_as_rarely_or_never_is_left_alone(own):
    gc.set_threshold(*own)
    with rare_collections(10**6):
        assert gc.get_threshold() == own
    assert gc.get_threshold() == own


def test_what_the_program_sets_meanwhile_stays():
    with rare_collections(1000):
        gc.set_threshold(30_000, 9, 9)
        with rare_collections(500):
            assert gc.get_threshold() == (30_000, 9, 9)
        assert gc.get_threshold() == (30_000, 9, 9)
    assert gc.get_threshold() == (30_000, 9, 9)
