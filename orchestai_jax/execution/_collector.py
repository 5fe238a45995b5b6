"""The garbage collector during runs: rarer, as a run makes many objects and next to none of them is garbage."""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Iterator

OF_A_TASK = 20
"""Objects that a task of a run makes, about."""
MOST = 20_000
"""Young objects that are never exceeded before the collector looks at them; 700 are Python's own."""

_lock = threading.Lock()
_wanted: list[int] = []
"""What each of the runs that go on now wants."""
_before: tuple[int, int, int] = gc.get_threshold()
"""The process's thresholds before the first of them."""
_set: tuple[int, int, int] | None = None
"""What is set for them; None where the program's own thresholds stand."""


@contextlib.contextmanager
def rare_collections(tasks: int) -> Iterator[None]:
    """Let the collector begin, while a run of so many tasks goes on, when the run has made its objects, not before.

    With its default threshold it goes over the whole process's memory several times in a large run and finds nothing:
    up to a third of the run's own time. What garbage there is is still collected. A threshold of the program's own is
    left alone where it is higher, or 0 (off), or changed meanwhile.
    """
    wanted = min(MOST, OF_A_TASK * tasks)
    with _lock:
        _wanted.append(wanted)
        _adjust()
    try:
        yield
    finally:
        with _lock:
            _wanted.remove(wanted)
            _adjust()


def _adjust() -> None:
    global _before, _set
    current = gc.get_threshold()
    if _set is None:
        _before = current
    elif current != _set:  # the program has set its own meanwhile
        _before, _set = current, None
    young = max(_wanted, default=0)
    if 0 < _before[0] < young:
        _set = (young, *_before[1:])
        gc.set_threshold(*_set)
    elif _set is not None:
        _set = None
        gc.set_threshold(*_before)
