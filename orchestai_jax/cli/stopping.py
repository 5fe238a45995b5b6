"""The end of a command does not wait for what does not stop: a tool's thread, a coroutine deaf to its cancellation."""

from __future__ import annotations

import asyncio
import concurrent.futures
import queue
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")

GRACE_S = 1.0
"""Seconds that what is left has when the work is done; the run itself has given its calls `grace_s` before."""

_LEFT: list[asyncio.Runner] = []
"""Loops with tasks that do not stop: closed, they would wait for them."""


class DaemonThreads(concurrent.futures.ThreadPoolExecutor):
    """Threads that the process does not wait for at its end; those of `concurrent.futures` hold it up.

    Args:
        max_workers: the most calls at once.
    """

    def __init__(self, max_workers: int) -> None:
        super().__init__(max_workers)  # its own threads are never started
        self._most, self._count, self._over = max_workers, 0, False
        self._calls: queue.SimpleQueue[tuple[concurrent.futures.Future[Any], Callable[[], Any]] | None]
        self._calls = queue.SimpleQueue()
        self._idle, self._starting = threading.Semaphore(0), threading.Lock()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> concurrent.futures.Future[Any]:
        """Make a call in a thread. Raises RuntimeError after `shutdown`."""
        with self._starting:
            if self._over:
                raise RuntimeError("the threads are shut down")
            future: concurrent.futures.Future[Any] = concurrent.futures.Future()
            self._calls.put((future, lambda: fn(*args, **kwargs)))
            if not self._idle.acquire(blocking=False) and self._count < self._most:
                self._count += 1
                threading.Thread(target=self._serve, name=f"tool_{self._count}", daemon=True).start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; threads that work are left to it."""
        with self._starting:
            self._over = True
            for _ in range(self._count):
                self._calls.put(None)
        super().shutdown(wait=False)

    def _serve(self) -> None:
        while True:
            try:
                call = self._calls.get_nowait()
            except queue.Empty:
                self._idle.release()
                call = self._calls.get()
            if call is None:
                return
            future, work = call
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = work()
            except BaseException as error:  # noqa: BLE001 - it is raised where the result is asked for
                future.set_exception(error)
            else:
                future.set_result(result)
            del call, future, work  # what they hold is not to live until the next call


def run_to_its_end(work: Coroutine[Any, Any, Result], *, grace_s: float = GRACE_S) -> Result:
    """`asyncio.run`, except that tasks that do not stop within `grace_s` are left to the end of the process."""
    runner = asyncio.Runner()
    try:
        return runner.run(work)
    finally:
        if runner.run(_stop_the_rest(grace_s)):
            runner.close()
        else:
            _LEFT.append(runner)


async def _stop_the_rest(grace_s: float) -> bool:
    """Cancel all other tasks; whether they have stopped."""
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    return not rest or not (await asyncio.wait(rest, timeout=grace_s))[1]
