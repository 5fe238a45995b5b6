"""Batches: every sample once an epoch, few lengths, the same for the same seed, resumable anywhere."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestai_jax.data import DataError, bucket_length, epoch_batches


def collate(indices, weights, padded_length):
    return indices, weights, padded_length


def lengths_of(n, seed=0):
    return np.random.default_rng(seed).integers(3, 120, n)


def flat(batches):
    return [(b[0].tolist(), b[1].tolist(), b[2]) for b in batches]


def take(iterator, n):
    return [next(iterator) for _ in range(n)]


@pytest.mark.parametrize(("n", "padded"), [(0, 16), (1, 16), (16, 16), (17, 32), (500, 128)])
def test_bucket_length(n, padded):
    assert bucket_length(n, 16, 128) == padded


def test_bucket_length_has_no_maximum_unless_given():
    assert bucket_length(500) == 512


@given(n=st.integers(1, 70), batch_size=st.integers(1, 9), window=st.integers(1, 4), seed=st.integers(0, 3))
@settings(max_examples=12, deadline=None)
def test_each_epoch_holds_each_sample_once_padded_to_the_bucket_of_its_longest(n, batch_size, window, seed):
    lengths = lengths_of(n, seed)
    batches = epoch_batches(lengths, collate, batch_size=batch_size, seed=seed, window=window)
    assert batches.steps_per_epoch == -(-n // batch_size)
    for _ in range(2):
        seen = []
        for indices, weights, padded in take(batches, batches.steps_per_epoch):
            assert indices.shape == weights.shape == (batch_size,)
            assert indices.dtype == np.int32
            assert weights.dtype == np.float32
            real = indices[weights == 1]
            assert set(indices) == set(real)
            assert set(weights) <= {0.0, 1.0}
            assert padded == bucket_length(int(lengths[real].max()))
            seen += real.tolist()
        assert sorted(seen) == list(range(n))
    batches.close()


def test_the_order_follows_seed_and_epoch():
    def first_epochs(seed):
        batches = epoch_batches(lengths_of(50), collate, batch_size=4, seed=seed, window=3)
        return flat(take(batches, 13)), flat(take(batches, 13))

    assert first_epochs(1) == first_epochs(1)
    assert first_epochs(1)[0] != first_epochs(1)[1]
    assert first_epochs(1)[0] != first_epochs(2)[0]


def test_a_window_groups_samples_of_like_length():
    lengths = lengths_of(400)

    def padded_tokens(window):
        batches = epoch_batches(lengths, collate, batch_size=8, seed=0, window=window)
        return sum(padded * 8 for _, _, padded in take(batches, batches.steps_per_epoch))

    assert padded_tokens(25) < 0.8 * padded_tokens(1)


def test_batches_of_a_window_do_not_come_in_order_of_length():
    batches = epoch_batches(lengths_of(400), collate, batch_size=8, seed=0, window=50)
    padded = [b[2] for b in take(batches, 50)]
    assert padded != sorted(padded)


@pytest.mark.parametrize("position", [0, 3, 13, 20])
def test_a_saved_position_goes_on_identically(position):
    def fresh():
        return epoch_batches(lengths_of(50), collate, batch_size=4, seed=5, window=3)

    whole = fresh()
    take(whole, position)
    state = json.loads(json.dumps(whole.get_state()))
    resumed = fresh()
    take(resumed, 7)
    resumed.set_state(state)
    assert flat(take(resumed, 30)) == flat(take(whole, 30))
    assert resumed.get_state() == whole.get_state()


def test_a_position_of_other_data_or_settings_is_refused():
    state = epoch_batches(lengths_of(50), collate, batch_size=4, seed=5).get_state()
    for other in (
        epoch_batches(lengths_of(50, seed=9), collate, batch_size=4, seed=5),
        epoch_batches(lengths_of(50), collate, batch_size=5, seed=5),
        epoch_batches(lengths_of(50), collate, batch_size=4, seed=6),
    ):
        with pytest.raises(DataError, match=r"another (lengths_crc32|batch_size|seed)"):
            other.set_state(state)
    with pytest.raises(DataError, match="not a state"):
        other.set_state({"next_index": 3})


@pytest.mark.parametrize(
    ("lengths", "options", "message"),
    [
        ([], {}, "one or more"),
        ([3.5], {}, "integers"),
        ([-1], {}, "from 0 up"),
        ([3], {"batch_size": 0}, "batch_size"),
        ([3], {"seed": -1}, "seed"),
        ([3], {"window": 0}, "window"),
    ],
)
def test_wrong_arguments_are_named(lengths, options, message):
    with pytest.raises(DataError, match=message):
        epoch_batches(lengths, collate, **{"batch_size": 2, "seed": 0, **options})


def test_an_error_of_collate_reaches_the_consumer():
    def broken(indices, weights, padded_length):
        raise RuntimeError("cannot collate")

    with pytest.raises(RuntimeError, match="cannot collate"):
        next(epoch_batches([4, 5], broken, batch_size=2, seed=0))
