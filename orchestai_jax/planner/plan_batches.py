"""How many instructions are planned at once, and which ones."""

from __future__ import annotations

from collections.abc import Sequence

_BATCH = 32
_BATCH_TIMES_TYPES = 2**18
"""Over large catalogs batches shrink, so that rows x task types stays under this and fits into memory."""


def batch_size(num_task_types: int) -> int:
    """Instructions planned at once over a catalog of that size: a power of two, at most 32."""
    return 1 << min(_BATCH, max(1, _BATCH_TIMES_TYPES // num_task_types)).bit_length() - 1


def in_batches(order: Sequence[int], size: int) -> list[Sequence[int]]:
    """Instructions by rising length in batches of one size; the first, of short ones, is the one that is not full: its
    empty rows cost least."""
    first = len(order) % size
    rest = [order[i : i + size] for i in range(first, len(order), size)]
    return [order[:first], *rest] if first else rest
