"""The garbage collector out of the way while thousands of objects that stay are made."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def without_collector() -> Iterator[None]:
    """Collect nothing inside the block, which makes many objects in one go, none of them garbage.

    Otherwise the collector goes over the whole process's memory several times in it, and finds nothing. Never held over
    an `await`.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
