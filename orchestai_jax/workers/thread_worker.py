"""A worker whose work is a plain function: it is called in a thread, and the thread counts until it has ended."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from orchestai_jax.workers.thread_places import ThreadPlaces
from orchestai_jax.workers.worker import Output, WorkerContext
from orchestai_jax.workflow.catalog import TaskType, WorkerSpec


class ThreadWorker:
    """Does its tasks by a function that blocks.

    A call that was cancelled or took too long returns at once. Its thread cannot be stopped: until it has ended it
    counts against `spec.limits.max_concurrency`, so that there are never more threads than that.

    Args:
        spec: what it can do.
        do: does one task. It gets what `Worker.run` gets, gives what that gives, and raises `WorkerError` like that;
            `context.on_chunk` may be called from its thread.
    """

    def __init__(self, spec: WorkerSpec, do: Callable[[TaskType, Mapping[str, Any], WorkerContext], Output]) -> None:
        self.spec, self._do = spec, do
        self._places = ThreadPlaces(spec.limits.max_concurrency)

    async def run(self, task_type: TaskType, arguments: Mapping[str, Any], context: WorkerContext) -> Output:
        """Do one task; the event loop stays free meanwhile. Raises what the function raises."""
        tell = context.on_chunk
        if tell is not None:
            loop = asyncio.get_running_loop()
            context = msgspec.structs.replace(context, on_chunk=functools.partial(loop.call_soon_threadsafe, tell))
        return await self._places.run(functools.partial(self._do, task_type, arguments, context))
