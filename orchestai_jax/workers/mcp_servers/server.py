"""A server of the Model Context Protocol: started or reached at the first call, shared by its tools, then ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
import weakref
from collections.abc import AsyncIterator
from typing import Any, TextIO, cast

import httpx2
import mcp
from mcp.client.streamable_http import streamable_http_client

from orchestai_jax.config import redact, register_secret_names
from orchestai_jax.workers.plain_http import leaks_key
from orchestai_jax.workers.worker import WorkerError
from orchestai_jax.workflow.connections import McpConnection


class McpServer:
    """One server. Safe to share between the tasks of an event loop; another event loop gets a session of its own.

    A session is held by a task of its own, which ends it when `close` is called or the event loop's tasks are
    cancelled: the library wants it ended by whom it was begun by.

    Args:
        connection: how it is reached; which tool is meant does not matter here.
    """

    def __init__(self, connection: McpConnection) -> None:
        self.connection = connection
        register_secret_names(self._variables)
        self._sessions: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Session] = weakref.WeakKeyDictionary()

    @property
    def name(self) -> str:
        """The server in words: its address, or the program that it is."""
        return self.connection.url or " ".join(self.connection.command)

    @property
    def _variables(self) -> tuple[str, ...]:
        return (*self.connection.env, *((self.connection.key_env,) if self.connection.key_env else ()))

    def fault(self) -> str | None:
        """What can be seen to be missing without starting it; None where nothing is."""
        if self.connection.command and shutil.which(self.connection.command[0]) is None:
            return f"the program {self.connection.command[0]!r} of the MCP server is not here; install it"
        for name in self._variables:
            if not os.environ.get(name):
                return f"the environment variable {name}, which the MCP server {self.name} wants, is not set"
        if self.connection.key_env and self.connection.url and leaks_key(self.connection.url):
            return f"{self.connection.url} would get the key of {self.connection.key_env} unencrypted; use https"
        return None

    async def tools(self) -> list[dict[str, Any]]:
        """Every tool, as the protocol's `tools/list` writes it.

        Raises:
            WorkerError: the server cannot be started or reached, or does not answer.
        """
        tools: list[dict[str, Any]] = []
        cursor: str | None = None
        async with self._calling() as client:
            for _ in range(100):  # a server whose pages never end
                page = await client.list_tools(cursor=cursor, cache_mode="bypass")
                tools += [tool.model_dump(by_alias=True, mode="json", exclude_none=True) for tool in page.tools]
                cursor = page.next_cursor
                if cursor is None:
                    break
        return tools

    async def call(self, tool: str, arguments: dict[str, Any], idempotency_key: str = "") -> mcp.types.CallToolResult:
        """Call a tool; a tool's own error is in the result.

        The protocol has no field for an idempotency key of its own: it goes into the request's `_meta`, which is open
        to any key, under `idempotency-key`; a server that does not know it passes it over.

        Raises:
            WorkerError: the server refuses, fails, or takes longer than `connection.call_s`.
        """
        meta: Any = {"idempotency-key": idempotency_key} if idempotency_key else None
        async with self._calling() as client:
            return await client.call_tool(tool, arguments, meta=meta)

    async def close(self) -> None:
        """End the session of the running event loop, and with it the server that was started."""
        session = self._sessions.pop(asyncio.get_running_loop(), None)
        if session is not None:
            await session.end()

    @contextlib.asynccontextmanager
    async def _calling(self) -> AsyncIterator[mcp.Client]:
        loop = asyncio.get_running_loop()
        session = self._sessions.get(loop)
        if session is None or session.over:
            session = self._sessions[loop] = _Session(self)
        client = await session.client()
        limit = asyncio.timeout(self.connection.call_s)
        try:
            async with limit:
                yield client
        except mcp.MCPError as error:
            gone = session.over or error.code == -32000  # the library's code for a connection that was closed
            if gone:
                if self._sessions.get(loop) is session:  # another call may have begun the next one
                    del self._sessions[loop]
                await session.end()
            said = session.last_words() if gone else ""
            raise WorkerError(self._line(f"{error.message}{said}"), retryable=gone) from error
        except (OSError, httpx2.HTTPError) as error:
            if isinstance(error, TimeoutError) and limit.expired():
                line = self._line(f"it did not answer within {self.connection.call_s:g} s (connection.call_s)")
                raise WorkerError(line, retryable=True) from error
            raise WorkerError(self._line(f"{type(error).__name__}: {error}"), retryable=True) from error

    def _line(self, message: str) -> str:
        line = redact(" ".join(f"the MCP server {self.name} failed: {message}".split()))
        return line if len(line) <= 400 else line[:397] + "..."


class _Session:
    """A client and the task that holds it."""

    def __init__(self, server: McpServer) -> None:
        self._server = server
        self._stop = asyncio.Event()
        self._ready: asyncio.Future[mcp.Client] = asyncio.get_running_loop().create_future()
        # Closed when the session ends, which is not where it is opened.
        self._words = cast(TextIO, tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace"))  # noqa: SIM115
        self._said = ""
        self._owner = asyncio.create_task(self._hold(), name=f"MCP server {server.name}")

    @property
    def over(self) -> bool:
        """Whether it has ended, or never began."""
        return self._owner.done()

    async def client(self) -> mcp.Client:
        """The client, once the server has answered. Raises WorkerError where it does not."""
        seconds = self._server.connection.start_s
        try:
            return await asyncio.wait_for(asyncio.shield(self._ready), seconds)
        except TimeoutError as error:
            await self.end()
            message = f"it did not answer within {seconds:g} s of its start{self.last_words()}"
            raise WorkerError(self._server._line(message), retryable=True) from error

    def last_words(self) -> str:
        """The end of what the started server wrote on stderr."""
        if not self._words.closed:
            self._words.seek(0)
            lines = [line.strip() for line in self._words.read()[-2000:].splitlines() if line.strip()]
            self._said = f"; it says: {lines[-1][-200:]}" if lines else ""
        return self._said

    async def end(self) -> None:
        """End it and wait until it has ended."""
        self._stop.set()
        if not self._ready.done():
            self._owner.cancel()
        await asyncio.wait([self._owner])

    async def _hold(self) -> None:
        try:
            async with contextlib.AsyncExitStack() as stack:
                client = await stack.enter_async_context(await self._open(stack))
                self._ready.set_result(client)
                await self._stop.wait()
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait are to hear of it
            if self._ready.done():
                return  # calls fail by themselves when the connection does
            while isinstance(error, ExceptionGroup):
                error = error.exceptions[0]
            if isinstance(error, WorkerError):
                self._ready.set_exception(error)
                return
            message = f"{type(error).__name__}: {error}{self.last_words()}"
            self._ready.set_exception(WorkerError(self._server._line(message), retryable=True))
        finally:
            self.last_words()
            self._words.close()
            if not self._ready.done():
                self._ready.cancel()

    async def _open(self, stack: contextlib.AsyncExitStack) -> mcp.Client:
        connection = self._server.connection
        fault = self._server.fault()
        if fault is not None:
            raise WorkerError(fault)
        if connection.command:
            program, *arguments = connection.command
            env = {name: os.environ[name] for name in connection.env}
            parameters = mcp.StdioServerParameters(command=program, args=arguments, env=env)
            return mcp.Client(mcp.stdio_client(parameters, errlog=self._words))
        assert connection.url is not None
        headers = {}
        if connection.key_env:
            headers["Authorization"] = f"Bearer {os.environ[connection.key_env].strip()}"
        timeout = httpx2.Timeout(connection.start_s, read=connection.call_s)  # a tool may take its time to answer
        http = await stack.enter_async_context(httpx2.AsyncClient(headers=headers, timeout=timeout))
        return mcp.Client(streamable_http_client(connection.url, http_client=http))
