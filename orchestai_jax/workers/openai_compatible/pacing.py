"""Keeps a service's rate limit: nothing is sent before the moment that the service named."""

from __future__ import annotations

import asyncio
import time

from orchestai_jax.workers.worker import WorkerError


class RateGate:
    """Closed for as long as a service asks; all calls of a worker go through the same one.

    Args:
        max_wait_s: the longest wait; a call that would have to wait longer fails.
    """

    def __init__(self, max_wait_s: float) -> None:
        self._max_wait_s = max_wait_s
        self._opens_at = 0.0

    def close_for(self, seconds: float) -> None:
        """Let nothing through for some seconds from now. A longer wait that was asked for before stands."""
        self._opens_at = max(self._opens_at, time.monotonic() + seconds)

    def wait_s(self) -> float:
        """Seconds until it opens, 0 where it is open."""
        return max(0.0, self._opens_at - time.monotonic())

    async def passed(self) -> None:
        """Wait until it is open.

        Raises:
            WorkerError: it stays closed for too long.
        """
        while (wait := self.wait_s()) > 0:
            if wait > self._max_wait_s:
                raise WorkerError(
                    f"the service's rate limit is reached for {wait:.0f} s more; at most {self._max_wait_s:g} s are "
                    "waited (connection.max_wait_s)",
                    retryable=True,
                    retry_after_s=wait,
                )
            await asyncio.sleep(wait)
