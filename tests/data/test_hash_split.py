"""Splits by a hash of the ids."""

import pytest

from orchestai_jax.data import DataError, PlanningSample, split_by_hash


def test_splits_are_stable_disjoint_and_nested():
    samples = [PlanningSample(str(i), "", ()) for i in range(2000)]
    rest, held = split_by_hash(samples, 0.1)
    assert 150 < len(held) < 250
    assert [int(s.id) for s in held] == sorted(int(s.id) for s in held)
    assert {s.id for s in rest} | {s.id for s in held} == {s.id for s in samples}
    assert {s.id for s in held} <= {s.id for s in split_by_hash(samples, 0.2)[1]}
    assert {s.id for s in held} != {s.id for s in split_by_hash(samples, 0.1, "other")[1]}
    assert split_by_hash(samples[500:700], 0.1)[1] == [s for s in held if 500 <= int(s.id) < 700]
    assert split_by_hash(samples, 0)[1] == []
    assert split_by_hash(samples, 1)[0] == []
    with pytest.raises(DataError, match="from 0 to 1"):
        split_by_hash(samples, 1.5)
