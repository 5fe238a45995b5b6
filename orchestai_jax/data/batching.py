"""Batches of similar length through grain: padded to few lengths, the same for the same seed, resumable anywhere."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from orchestai_jax.data.data_error import DataError

if TYPE_CHECKING:
    import grain

T = TypeVar("T")

_ENDLESS = 2**62
"""Steps that the iterator says it has: more than anyone runs."""


def bucket_length(n: int, bucket_size: int = 16, maximum: int | None = None) -> int:
    """`n` rounded up to a multiple of `bucket_size`, at least one bucket, at most `maximum`.

    Raises:
      DataError: `n` is negative, or `bucket_size` or `maximum` is not positive.
    """
    if n < 0 or bucket_size < 1 or (maximum is not None and maximum < 1):
        raise DataError(
            f"bucket_length wants n >= 0, bucket_size >= 1, maximum >= 1; got {n}, {bucket_size}, {maximum}"
        )
    padded = max(1, -(-n // bucket_size)) * bucket_size
    return padded if maximum is None else min(padded, maximum)


class EpochBatches(Generic[T]):
    """An endless iterator of batches, with the semantics of grain's DatasetIterator.

    `steps_per_epoch` batches make an epoch, each sample once. `get_state` gives a dict that JSON takes; `set_state` on
    an iterator that was made with the same arguments goes on exactly where it was taken.
    """

    def __init__(self, iterator: grain.DatasetIterator, steps_per_epoch: int, made_of: Mapping[str, int]) -> None:
        self._iterator = iterator
        self._made_of = dict(made_of)
        self.steps_per_epoch = steps_per_epoch

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        return next(self._iterator)

    def get_state(self) -> dict[str, Any]:
        """The position and what it was made of: {"iterator": grain's state, "made_of": {...}}."""
        return {"iterator": dict(self._iterator.get_state()), "made_of": dict(self._made_of)}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes to a position that `get_state` gave.

        Raises:
          DataError: the state is none of these, or was taken with other data or settings, where it means other batches.
        """
        if not isinstance(state, Mapping) or set(state) != {"iterator", "made_of"}:
            raise DataError(f"not a state of epoch_batches: {state!r}")
        if state["made_of"] != self._made_of:
            differ = [k for k, v in self._made_of.items() if state["made_of"].get(k) != v]
            raise DataError(
                f"the data position was taken with another {', '.join(differ) or 'setting'} "
                f"({state['made_of']} against {self._made_of}); resume with the same data and settings"
            )
        self._iterator.set_state(dict(state["iterator"]))

    def close(self) -> None:
        """Ends the reading ahead. The iterator cannot be used after that."""
        self._iterator.close()


def epoch_batches(
    lengths: Sequence[int] | np.ndarray,
    collate: Callable[[np.ndarray, np.ndarray, int], T],
    *,
    batch_size: int,
    bucket_size: int = 16,
    seed: int,
    window: int = 50,
) -> EpochBatches[T]:
    """Batches of samples whose lengths are alike, epoch after epoch.

    Each epoch permutes the samples by (seed, epoch), sorts windows of `window * batch_size` of them by length, cuts
    them into batches and permutes these. A batch is padded to its longest sample's `bucket_length`. The short batch of
    an epoch is filled up by repeating its samples with weight 0.

    Args:
      lengths: the length of each sample (tokens), at least one sample.
      collate: `collate(indices: int32[batch_size], weights: float32[batch_size], padded_length: int)`; runs in a thread
        ahead of the consumer, so it must not depend on anything that changes.
      batch_size: samples a batch, at least 1.
      bucket_size: lengths are padded to multiples of it.
      seed: decides every order.
      window: batches that are sorted together: more is less padding and less randomness.

    Raises:
      DataError: an argument is out of range.
    """
    import grain  # heavy, and only needed once batches are made

    for name, value in (("batch_size", batch_size), ("bucket_size", bucket_size), ("window", window)):
        if value < 1:
            raise DataError(f"{name} must be at least 1, got {value}")
    if seed < 0:
        raise DataError(f"seed must not be negative, got {seed}")
    sizes = np.asarray(lengths)
    if sizes.ndim != 1 or sizes.size == 0 or not np.issubdtype(sizes.dtype, np.integer) or (sizes < 0).any():
        raise DataError(f"lengths must be one or more integers from 0 up, got {sizes.dtype}{list(sizes.shape)}")
    sizes = sizes.astype(np.int64)
    source = _Batches(sizes, collate, batch_size=batch_size, bucket_size=bucket_size, seed=seed, window=window)
    # One thread prepares the next batches while a step runs; order and content do not depend on it.
    options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=2)
    iterator = iter(grain.MapDataset.source(source).to_iter_dataset(options))
    made_of = {
        "samples": int(sizes.size),
        "lengths_crc32": zlib.crc32(sizes.tobytes()),
        "batch_size": batch_size,
        "bucket_size": bucket_size,
        "seed": seed,
        "window": window,
    }
    return EpochBatches(iterator, source.steps_per_epoch, made_of)


class _Batches(Generic[T]):
    """Random access to the batch of any step, as grain's sources want it: step = epoch * steps_per_epoch + position."""

    def __init__(
        self,
        lengths: np.ndarray,
        collate: Callable[[np.ndarray, np.ndarray, int], T],
        *,
        batch_size: int,
        bucket_size: int,
        seed: int,
        window: int,
    ) -> None:
        self._lengths = lengths
        self._collate = collate
        self._batch_size = batch_size
        self._bucket_size = bucket_size
        self._seed = seed
        self._window = window
        self._lock = threading.Lock()
        self._epochs: dict[int, list[np.ndarray]] = {}

    @property
    def steps_per_epoch(self) -> int:
        """Batches an epoch, the same for every epoch."""
        return -(-self._lengths.size // self._batch_size)

    def __len__(self) -> int:
        return _ENDLESS

    def __getitem__(self, index: int) -> T:
        epoch, position = divmod(index, self.steps_per_epoch)
        indices = self._epoch(epoch)[position]
        weights = np.zeros(self._batch_size, np.float32)
        weights[: indices.size] = 1
        padded = bucket_length(int(self._lengths[indices].max()), self._bucket_size)
        return self._collate(np.resize(indices, self._batch_size), weights, padded)

    def _epoch(self, epoch: int) -> list[np.ndarray]:
        # Only the epoch in use is kept, and the one before it, which a reader ahead may have left behind.
        with self._lock:
            if epoch not in self._epochs:
                self._epochs = {e: batches for e, batches in self._epochs.items() if e == epoch - 1}
                self._epochs[epoch] = self._order(epoch)
            return self._epochs[epoch]

    def _order(self, epoch: int) -> list[np.ndarray]:
        rng = np.random.default_rng([self._seed, epoch])
        order = rng.permutation(self._lengths.size).astype(np.int32)
        batches: list[np.ndarray] = []
        for start in range(0, order.size, self._window * self._batch_size):
            part = order[start : start + self._window * self._batch_size]
            part = part[np.argsort(self._lengths[part], kind="stable")]
            batches += [part[i : i + self._batch_size] for i in range(0, part.size, self._batch_size)]
        return [batches[i] for i in rng.permutation(len(batches))]
