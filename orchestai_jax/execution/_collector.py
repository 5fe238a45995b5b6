"""The garbage collector during runs: rarer, as a run makes many objects and next to none of them is garbage."""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Iterator

YOUNG = 20_000
"""Objects that may be made, beyond those that are gone, before the collector looks at them: 700 by default."""

_lock = threading.Lock()
_before: list[tuple[int, int, int]] = []
"""The process's thresholds, as they were before the first of the runs that go on now; one entry a run."""


@contextlib.contextmanager
def rare_collections() -> Iterator[None]:
    """Let the collector start less often inside the block, and as before once no thread is in one any more.

    With its default thresholds it goes over the whole process's memory several times in a large run and finds nothing:
    a fifth of the run's own time. What garbage there is is still collected. A threshold of the program's own is left
    alone where it is higher, or 0 (off), or changed meanwhile.
    """
    with _lock:
        current = gc.get_threshold()
        _before.append(_before[0] if _before else current)
        if len(_before) == 1 and 0 < current[0] < YOUNG:
            gc.set_threshold(YOUNG, *current[1:])
    try:
        yield
    finally:
        with _lock:
            first = _before.pop()
            if not _before and gc.get_threshold() == (YOUNG, *first[1:]):
                gc.set_threshold(*first)
