"""How many threads a worker has at once, those of calls that were given up and cannot be stopped among them."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class ThreadPlaces:
    """Places for threads. A cancelled call returns at once, but its place is free only when its thread has ended.

    Args:
        most: how many threads there may be at once, for each event loop; None = any number.
    """

    def __init__(self, most: int | None) -> None:
        self._most = most
        self._loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = (
            weakref.WeakKeyDictionary()
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return ThreadPlaces, (self._most,)  # another process has threads of its own

    async def run(self, do: Callable[[], T]) -> T:
        """What a function gives, called in a thread once there is a place for it."""
        if self._most is None:
            return await asyncio.to_thread(do)
        loop = asyncio.get_running_loop()
        places = self._loops.setdefault(loop, asyncio.Semaphore(self._most))
        await places.acquire()
        lock, begun, given_up = threading.Lock(), False, False

        def work() -> T:
            nonlocal begun
            with lock:
                if given_up:
                    raise asyncio.CancelledError
                begun = True
            try:
                return do()
            finally:
                with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits
                    loop.call_soon_threadsafe(places.release)

        try:
            return await asyncio.to_thread(work)
        except asyncio.CancelledError:
            with lock:
                given_up = True
                if not begun:  # it still waited for a thread, and will not begin
                    places.release()
            raise
