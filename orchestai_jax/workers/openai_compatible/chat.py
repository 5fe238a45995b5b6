"""Chat completions: one request, its answer put together from its pieces, what it used."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import random
import weakref
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import openai

from orchestai_jax.config import register_secret_names
from orchestai_jax.workers.openai_compatible.errors import headers_of, key_of, worker_error
from orchestai_jax.workers.openai_compatible.pacing import RateGate
from orchestai_jax.workers.retry_after import exhausted_until, retry_after
from orchestai_jax.workers.worker import WorkerError
from orchestai_jax.workflow.connections import OpenAIConnection
from orchestai_jax.workflow.prices import Usage

Message = Mapping[str, Any]
"""A message of the protocol: `{"role": "user", "content": "..."}`."""


@dataclasses.dataclass(frozen=True, slots=True)
class ToolRequest:
    """A tool that the model wants called.

    Attributes:
        id: names the call; its result goes back under it.
        name: of the tool.
        arguments: as the model wrote them: JSON, if it wrote well.
    """

    id: str
    name: str
    arguments: str


@dataclasses.dataclass(frozen=True, slots=True)
class Reply:
    """An answer of a model.

    Attributes:
        text: what it says.
        tool_requests: tools that it wants called before it goes on.
        usage: what the request used.
        cost: US dollars for that.
    """

    text: str
    tool_requests: tuple[ToolRequest, ...]
    usage: Usage
    cost: float


class ChatClient:
    """Requests to one endpoint, within its rate limit. Safe to share between the tasks of an event loop."""

    def __init__(self, connection: OpenAIConnection) -> None:
        self.connection = connection
        register_secret_names([connection.key_env] if connection.key_env else [])
        self._gate = RateGate(connection.max_wait_s)
        self._clients: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, openai.AsyncOpenAI] = (
            weakref.WeakKeyDictionary()
        )

    def client(self) -> openai.AsyncOpenAI:
        """The library's client for the running event loop: a pool of connections belongs to one loop.

        Raises:
            WorkerError: the key is missing.
        """
        loop = asyncio.get_running_loop()
        key = key_of(self.connection)
        client = self._clients.get(loop)
        if client is None or (key is not None and client.api_key != key):
            timeout = openai.Timeout(self.connection.stall_s, connect=self.connection.connect_s)
            client = openai.AsyncOpenAI(
                base_url=self.connection.base_url, api_key=key or "none", timeout=timeout, max_retries=0
            )
            self._clients[loop] = client
        return client

    async def close(self) -> None:
        """Close the connections of the running event loop. The next request opens new ones."""
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.close()

    async def send(self, request: Callable[[openai.AsyncOpenAI], Awaitable[Any]]) -> Any:
        """Send a request, waiting out what the service's rate limit asks for; gives the raw response.

        Raises:
            WorkerError: whatever went wrong, in one line.
        """
        tries = self.connection.rate_limit_tries
        for attempt in range(1, tries + 1):
            await self._gate.passed()
            try:
                response = await request(self.client())
            except openai.APIStatusError as error:
                wait = self._wait_of(error, attempt)
                if wait is None:
                    raise worker_error(error, self.connection) from error
                self._gate.close_for(wait)
                if attempt == tries:
                    raise worker_error(error, self.connection) from error
            except openai.APIError as error:
                raise worker_error(error, self.connection) from error
            else:
                pause = exhausted_until(headers_of(response))
                if pause is not None:
                    self._gate.close_for(pause)
                return response
        raise AssertionError("the last try returns or raises")

    async def complete(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] = (),
        response_format: Mapping[str, Any] | None = None,
        max_output_tokens: int | None = None,
        may_be_cut: bool = False,
        idempotency_key: str = "",
        on_chunk: Callable[[str], None] | None = None,
    ) -> Reply:
        """One answer of the model.

        Args:
            messages: the conversation.
            tools: functions that the model may call, as the protocol writes them.
            response_format: what the answer has to look like, as the protocol writes it.
            max_output_tokens: the longest answer, in place of the connection's.
            may_be_cut: an answer that ends where its tokens do will do as well.
            idempotency_key: sent along, so that a service can tell a repeated request from a new one.
            on_chunk: is told each piece of the text as it comes.

        Raises:
            WorkerError: the service or the way to it failed, or the answer is not whole.
        """
        wanted: dict[str, Any] = {"model": self.connection.model, "messages": list(messages)}
        longest = max_output_tokens or self.connection.max_output_tokens
        if longest is not None:
            wanted["max_tokens"] = longest
        if self.connection.temperature is not None:
            wanted["temperature"] = self.connection.temperature
        if tools:
            wanted["tools"] = list(tools)
        if response_format is not None:
            wanted["response_format"] = dict(response_format)
        wanted |= keyed(idempotency_key)
        if self.connection.stream:
            wanted |= {"stream": True, "stream_options": {"include_usage": True}}
        raw = await self.send(lambda client: client.chat.completions.with_raw_response.create(**wanted))
        answer = _Answer(self.connection)
        try:
            if self.connection.stream:
                async with raw.parse() as pieces:
                    async for piece in pieces:
                        for text in answer.add(piece):
                            if on_chunk is not None:
                                on_chunk(text)
            else:
                text = answer.take(raw.parse())
                if on_chunk is not None and text:
                    on_chunk(text)
        except openai.APIError as error:
            raise worker_error(error, self.connection) from error
        except (json.JSONDecodeError, AttributeError, TypeError, KeyError, IndexError) as error:
            # What the protocol promises is not there: the library does not look, so it shows where it is used.
            raise worker_error(error, self.connection) from error
        return answer.whole(messages, may_be_cut)

    def _wait_of(self, error: openai.APIStatusError, attempt: int) -> float | None:
        """Seconds to wait before the next try; None where another try is not for here to make."""
        headers = headers_of(error.response)
        if error.status_code == 429 and error.code != "insufficient_quota":
            asked = retry_after(headers)
            asked = exhausted_until(headers) if asked is None else asked
            return asked if asked is not None else min(2.0**attempt, 30.0) * random.uniform(0.5, 1.0)
        return retry_after(headers) if error.status_code == 503 else None


class _Answer:
    """Grows by the pieces of a stream, or takes a whole answer."""

    def __init__(self, connection: OpenAIConnection) -> None:
        self._connection = connection
        self._texts: list[str] = []
        self._calls: dict[int, dict[str, str]] = {}
        self._finish: str | None = None
        self._usage: Any = None

    def add(self, piece: Any) -> list[str]:
        """Take a piece; gives the texts in it."""
        texts = []
        self._usage = getattr(piece, "usage", None) or self._usage
        for choice in piece.choices[:1]:
            self._finish = choice.finish_reason or self._finish
            if choice.delta is None:
                continue
            if choice.delta.content:
                texts.append(choice.delta.content)
            for call in choice.delta.tool_calls or ():
                known = self._calls.setdefault(call.index, {"id": "", "name": "", "arguments": ""})
                known["id"] = call.id or known["id"]
                if call.function is not None:
                    known["name"] += call.function.name or ""
                    known["arguments"] += call.function.arguments or ""
        self._texts += texts
        return texts

    def take(self, completion: Any) -> str:
        """Take a whole answer; gives its text."""
        choice = completion.choices[0]
        self._usage, self._finish = completion.usage, choice.finish_reason
        self._texts.append(choice.message.content or "")
        for i, call in enumerate(choice.message.tool_calls or ()):
            function = call.function
            self._calls[i] = {"id": call.id, "name": function.name, "arguments": function.arguments}
        return self._texts[0]

    def whole(self, messages: Sequence[Message], may_be_cut: bool) -> Reply:
        """The answer, if it came to its end. Raises WorkerError."""
        connection, text = self._connection, "".join(self._texts)
        where = f"{connection.model} at {connection.base_url}"
        if self._finish is None:
            raise WorkerError(f"{where} broke off its answer after {len(text)} characters", retryable=True)
        usage = self._counted(messages, text)
        cost = connection.prices.cost(usage)
        if self._finish == "length" and not may_be_cut:
            raise WorkerError(
                f"{where}: the answer is longer than the tokens it may have; raise connection.max_output_tokens, "
                "or give less to read",
                cost=cost,
                tokens=usage.tokens,
            )
        if self._finish == "content_filter":
            message = f"{where} withheld its answer (content filter)"
            raise WorkerError(message, cost=cost, tokens=usage.tokens)
        calls = tuple(ToolRequest(**self._calls[index]) for index in sorted(self._calls))
        return Reply(text, calls, usage, cost)

    def _counted(self, messages: Sequence[Message], text: str) -> Usage:
        used = self._usage
        if used is None or used.prompt_tokens is None:
            written = text + "".join(call["arguments"] for call in self._calls.values())
            sent = sum(len(_words_of(message)) for message in messages)
            return Usage(input_tokens=-(-sent // 4), output_tokens=-(-len(written) // 4), calls=1, estimated=True)
        details = getattr(used, "prompt_tokens_details", None)
        cached = getattr(details, "cached_tokens", None) or 0
        return Usage(
            input_tokens=used.prompt_tokens,
            cached_tokens=min(cached, used.prompt_tokens),
            output_tokens=used.completion_tokens or 0,
            calls=1,
        )


def keyed(idempotency_key: str) -> dict[str, Any]:
    """Options of a request that send a key along, so that a service can tell a repeated request from a new one."""
    return {"extra_headers": {"Idempotency-Key": idempotency_key}} if idempotency_key else {}


def _words_of(message: Message) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content)
