"""Garbage is looked for before and after, not while a planner is opened."""

import gc

import pytest

from orchestai_jax.cli.garbage import nothing_collected


def test_it_goes_on_afterwards_whatever_happens():
    with nothing_collected():
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(KeyError), nothing_collected():
        raise KeyError
    assert gc.isenabled()


def test_where_it_was_off_it_stays_off():
    gc.disable()
    try:
        with nothing_collected():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_what_is_there_is_set_aside_once():
    with nothing_collected():
        pass
    first = gc.get_freeze_count()
    assert first
    kept = [[] for _ in range(1000)]
    with nothing_collected():
        pass
    assert gc.get_freeze_count() <= first
    assert len(kept) == 1000
