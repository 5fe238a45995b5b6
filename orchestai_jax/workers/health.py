"""Whether a worker can work: looked at before a run, by discovery and by `orchestai doctor`."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from typing import Protocol, runtime_checkable

from orchestai_jax.config import redact
from orchestai_jax.workers.worker import Worker, WorkerError


@dataclasses.dataclass(frozen=True, slots=True)
class Health:
    """What a health check found.

    Attributes:
        ok: whether the worker can take tasks now.
        detail: one line: what answered, or what is wrong and what to do about it.
        latency_s: seconds that a small real call took, None where none was made.
    """

    ok: bool
    detail: str
    latency_s: float | None = None


@runtime_checkable
class CheckedWorker(Worker, Protocol):
    """A worker that can say whether it works. Every worker of this package is one; a worker need not be."""

    async def check(self) -> Health:
        """Look whether a task could be done now, by the smallest real call where that changes nothing in the world."""
        ...


async def check_worker(worker: Worker, timeout_s: float = 60.0) -> Health:
    """The health of any worker; a worker without a check of its own counts as well, and says so.

    Args:
        worker: the worker.
        timeout_s: a check that takes longer has failed.
    """
    if not isinstance(worker, CheckedWorker):
        return Health(True, "has no check of its own")
    try:
        async with asyncio.timeout(timeout_s):
            return await worker.check()
    except TimeoutError:
        return Health(False, f"did not answer its check within {timeout_s:g} s")
    except WorkerError as error:
        return Health(False, str(error))
    except Exception as error:  # noqa: BLE001 - foreign code; that it breaks is the finding
        return Health(False, f"its check failed with {broke_with(error)}")


def broke_with(error: Exception) -> str:
    """An error of foreign code on one line, its type named, secrets masked."""
    line = redact(" ".join(f"{type(error).__name__}: {error}".split()))
    return line if len(line) <= 300 else line[:297] + "..."


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._started = time.perf_counter()

    def seconds(self) -> float:
        """Seconds since then."""
        return time.perf_counter() - self._started
