"""Copies of a state in host memory, which training cannot change while they are written to disk."""

from __future__ import annotations

import concurrent.futures
import os
from collections.abc import Iterator, Sequence

import numpy as np

_PIECE = 1 << 22
"""Bytes that a thread copies at a time."""


class HostCopies:
    """Memory for one copy of a state, kept from save to save.

    A copy into memory that is fresh from the system takes two to three times as long: the system clears each page
    first. So as much memory as the saved state has stays taken as long as this lives. Not for several threads at once.
    """

    def __init__(self) -> None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self._threads = concurrent.futures.ThreadPoolExecutor(min(cores, 4), "checkpoint-copy")
        self._memory: list[np.ndarray] = []

    def of(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The arrays' copies, theirs until the next call: it writes to the same memory."""
        layout = [(array.shape, array.dtype) for array in arrays]
        if layout != [(array.shape, array.dtype) for array in self._memory]:
            self._memory = []  # the old goes before the new comes
            self._memory = [np.empty(shape, dtype) for shape, dtype in layout]
        pieces = [piece for pair in zip(self._memory, arrays, strict=True) for piece in _pieces(*pair)]
        for _ in self._threads.map(lambda piece: np.copyto(*piece), pieces):
            pass
        return list(self._memory)

    def close(self) -> None:
        """End the threads and give the memory back."""
        self._threads.shutdown()
        self._memory = []


def _pieces(to: np.ndarray, array: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    if array.nbytes <= _PIECE or not array.flags.c_contiguous:
        yield to, array
        return
    # As bytes: NumPy holds Python's lock while it copies dtypes that are not its own, bfloat16 among them.
    whole, source = (part.reshape(-1).view(np.uint8) for part in (to, array))
    for start in range(0, len(whole), _PIECE):
        yield whole[start : start + _PIECE], source[start : start + _PIECE]
