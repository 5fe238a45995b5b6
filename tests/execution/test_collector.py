import gc

import pytest

from orchestai_jax.execution._collector import YOUNG, rare_collections


@pytest.fixture(autouse=True)
def thresholds():
    before = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    yield
    gc.set_threshold(*before)


def test_collections_are_rare_until_the_last_run_has_ended():
    first, second = rare_collections(), rare_collections()
    first.__enter__()
    second.__enter__()
    assert gc.get_threshold() == (YOUNG, 10, 10)
    first.__exit__(None, None, None)
    assert gc.get_threshold() == (YOUNG, 10, 10)
    second.__exit__(None, None, None)
    assert gc.get_threshold() == (700, 10, 10)
    with pytest.raises(RuntimeError), rare_collections():
        raise RuntimeError
    assert gc.get_threshold() == (700, 10, 10)


@pytest.mark.parametrize("own", [(0, 10, 10), (YOUNG + 1, 5, 5)])
def test_a_program_that_collects_as_rarely_or_never_is_left_alone(own):
    gc.set_threshold(*own)
    with rare_collections():
        assert gc.get_threshold() == own
    assert gc.get_threshold() == own


def test_what_the_program_sets_meanwhile_stays():
    with rare_collections():
        gc.set_threshold(500, 9, 9)
    assert gc.get_threshold() == (500, 9, 9)
