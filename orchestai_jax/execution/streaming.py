"""A run as an asynchronous stream of events."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from orchestai_jax.execution.events import Event


@contextlib.asynccontextmanager
async def stream(
    start: Callable[..., Awaitable[Any]], *arguments: Any, **options: Any
) -> AsyncIterator[AsyncIterator[Event]]:
    """Run `start` (`execute` or `resume`) in the background; its events come as they happen, `ended` last.

        async with stream(execute, workflow, catalog, workers, root=".", output_folder="out") as events:
            async for event in events:
                print(event.kind)

    Leaving the block before the end cancels the run and waits until it has stopped and its record is written. An error
    of the run (it was refused, its journal cannot be written, …) is raised by the iteration. Events wait in memory for
    a slow reader: the run does not wait for it.
    """
    queue: asyncio.Queue[Event | None] = asyncio.Queue()

    async def run() -> None:
        try:
            await start(*arguments, on_event=queue.put_nowait, **options)
        finally:
            queue.put_nowait(None)

    running = asyncio.create_task(run(), name="workflow run")

    async def events() -> AsyncIterator[Event]:
        while (event := await queue.get()) is not None:
            yield event
        await running

    try:
        yield events()
    finally:
        if not running.done():
            running.cancel()
        await asyncio.wait({running})
        if not running.cancelled():
            running.exception()  # the iteration has raised it, or nobody iterates any more
