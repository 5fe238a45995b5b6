"""Python's search for garbage while a command starts: a quarter of the start, and it finds nothing."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def nothing_collected() -> Iterator[None]:
    """No search for reference cycles inside. What is there at the end (modules, classes) is never searched again; of
    several times in a process, at the end of the first."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            if not gc.get_freeze_count():
                gc.freeze()
            gc.enable()
