"""Workers in processes of their own: CPU-bound tools use all cores, and one that hangs can be killed."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import multiprocessing
import multiprocessing.connection
import multiprocessing.context
import os
import signal
from collections.abc import Mapping
from multiprocessing.process import BaseProcess
from typing import Any, Self

import msgspec

from orchestai_jax.workers import Output, Worker, WorkerContext, WorkerError, fault_of
from orchestai_jax.workflow import TaskType, WorkerSpec


@dataclasses.dataclass(frozen=True)
class ProcessWorker:
    """A worker whose calls are made in the processes of a pool.

    Attributes:
        worker: what is called; it and its arguments go to another process, so it must be picklable (the local tools
            are).
        pool: the processes, which several workers may share.
    """

    worker: Worker
    pool: ProcessPool

    @property
    def spec(self) -> WorkerSpec:
        """The worker's own."""
        return self.worker.spec

    def fault(self) -> str | None:
        """What keeps the worker from working."""
        return fault_of(self.worker)

    async def run(self, task_type: TaskType, arguments: Mapping[str, Any], context: WorkerContext) -> Output:
        """Do one task in a process; a call that is cancelled has its process killed.

        Text is not streamed from another process: `context.on_chunk` is told nothing.

        Raises:
            WorkerError: the worker's own, or its process died.
        """
        silent = msgspec.structs.replace(context, on_chunk=None)
        return await self.pool.call(self.worker, task_type, dict(arguments), silent)


class ProcessPool:
    """Processes that run workers' calls, one at a time each; started when they are first needed.

    Use it as `with ProcessPool(2) as pool:`, or `close` it: the processes end with it.

    Args:
        size: how many processes; None = one for each core that this process may use.

    Raises:
        ValueError: `size` is below 1.
    """

    def __init__(self, size: int | None = None) -> None:
        if size is not None and size < 1:
            raise ValueError(f"size is {size}; a pool has at least 1 process")
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self.size = cores if size is None else size
        # Fresh interpreters: a fork of a process whose threads hold locks inherits the locks without the threads.
        self._context = multiprocessing.get_context("spawn")
        self._idle: list[_Process] = []
        self._busy: set[_Process] = set()
        self._waiting: collections.deque[asyncio.Future[None]] = collections.deque()
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End the processes."""
        self.close()

    def close(self) -> None:
        """End the processes; calls that run fail."""
        self._closed = True
        for process in (*self._idle, *self._busy):
            process.kill()
        self._idle.clear()
        while self._waiting:
            self._wake()

    async def call(
        self, worker: Worker, task_type: TaskType, arguments: dict[str, Any], context: WorkerContext
    ) -> Output:
        """Make one call in a process; waits for one to be free.

        Raises:
            WorkerError: the worker's own; or its process died, or could not be sent the call.
        """
        process = await self._take()
        healthy = False
        try:
            answer = await process.ask((worker, task_type, arguments, context))
            healthy = True
        except (EOFError, OSError) as error:
            raise WorkerError(f"the process of worker {worker.spec.id} died", retryable=True) from error
        finally:
            if not healthy:
                process.kill()
            self._give_back(process, healthy)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async def _take(self) -> _Process:
        while len(self._busy) >= self.size and not self._closed:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._wake()
                raise
        if self._closed:
            raise WorkerError("the process pool is closed")
        process = self._idle.pop() if self._idle else _Process(self._context)
        self._busy.add(process)
        return process

    def _give_back(self, process: _Process, healthy: bool) -> None:
        self._busy.discard(process)
        if healthy and not self._closed:
            self._idle.append(process)
        self._wake()

    def _wake(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return


class _Process:
    """One process and the pipe to it."""

    def __init__(self, context: multiprocessing.context.SpawnContext) -> None:
        self._pipe, there = context.Pipe()
        self._process: BaseProcess = context.Process(target=_serve, args=(there,), daemon=True, name="worker process")
        self._process.start()
        there.close()
        self._ready: asyncio.Future[None] | None = None
        """Of the call that waits for its answer."""

    async def ask(self, call: tuple[Worker, TaskType, dict[str, Any], WorkerContext]) -> Output | Exception:
        """Send a call and wait for its answer without blocking the loop."""
        loop = asyncio.get_running_loop()
        try:
            # In a thread, because a large message waits until the other side reads it.
            await loop.run_in_executor(None, self._pipe.send, call)
        except (AttributeError, TypeError, ValueError) as error:
            raise WorkerError(f"worker {call[0].spec.id} cannot be sent to another process: {error}") from error
        if self._pipe.closed:  # killed meanwhile
            raise EOFError
        self._ready = ready = loop.create_future()
        descriptor = self._pipe.fileno()
        loop.add_reader(descriptor, lambda: ready.done() or ready.set_result(None))
        try:
            await ready
        finally:
            self._ready = None
            loop.remove_reader(descriptor)
        return await loop.run_in_executor(None, self._pipe.recv)

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()
        self._process.join(5)
        if self._ready is not None and not self._ready.done():
            self._ready.set_exception(EOFError())  # a pipe that is closed on this side wakes nobody
        with contextlib.suppress(OSError):
            self._pipe.close()


def _serve(pipe: multiprocessing.connection.Connection) -> None:
    """Answer calls until the other side is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the parent decides who stops
    with asyncio.Runner() as runner:
        while True:
            try:
                worker, task_type, arguments, context = pipe.recv()
            except (EOFError, OSError):
                return
            try:
                answer: Output | Exception = runner.run(worker.run(task_type, arguments, context))
            except WorkerError as error:
                answer = WorkerError(
                    str(error),
                    retryable=error.retryable,
                    retry_after_s=error.retry_after_s,
                    cost=error.cost,
                    tokens=error.tokens,
                )
            except Exception as error:  # noqa: BLE001 - it is raised again on the other side
                answer = WorkerError(f"{worker.spec.id} failed with {type(error).__name__}: {error}")
            try:
                pipe.send(answer)
            except (AttributeError, TypeError, ValueError) as error:  # an output that cannot be sent
                pipe.send(WorkerError(f"{worker.spec.id}: its output cannot be sent to another process: {error}"))
