"""The worker behind an OpenAI-compatible endpoint: chats, sees, calls tools, transcribes and speaks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from orchestai_jax.workers.arguments import check_arguments
from orchestai_jax.workers.health import Health, Stopwatch
from orchestai_jax.workers.local_tool import ToolCall
from orchestai_jax.workers.openai_compatible import audio
from orchestai_jax.workers.openai_compatible.chat import ChatClient, Message, Reply, ToolRequest
from orchestai_jax.workers.openai_compatible.errors import key_of, without_secrets
from orchestai_jax.workers.prompts import (
    check_chat,
    function_name,
    function_of,
    is_plain,
    messages_of,
    read_answer,
    response_format,
)
from orchestai_jax.workers.worker import Output, Worker, WorkerContext, WorkerError
from orchestai_jax.workflow.catalog import TaskType, WorkerSpec
from orchestai_jax.workflow.connections import OpenAIConnection

MAX_TOOL_RESULT = 20_000
"""Characters of a tool's result that the model gets to read."""

Way = Literal["chat", "transcription", "speech"]


def way_of(task_type: TaskType, vision: bool) -> Way:
    """By which endpoint a task type is done.

    Raises:
        ValueError: by none; names the input or output that stands in the way.
    """
    takes = [port.type for port in task_type.inputs]
    gives = [port.type for port in task_type.outputs]
    if takes == ["audio"] and gives == ["text"]:
        return "transcription"
    if takes == ["text"] and gives == ["audio"]:
        return "speech"
    check_chat(task_type, vision)
    return "chat"


class OpenAIWorker:
    """A model behind an HTTP endpoint.

    Args:
        spec: its entry in the catalog; `connection` says where it is.
        task_types: the task types that it is to do; each is checked here, before anything runs.
        tools: what it may call while it works: task types, each with a worker that does it.

    Raises:
        ValueError: the connection is of another kind, or a task type is none that it can do.
    """

    def __init__(
        self, spec: WorkerSpec, task_types: Sequence[TaskType] = (), tools: Sequence[tuple[TaskType, Worker]] = ()
    ) -> None:
        if not isinstance(spec.connection, OpenAIConnection):
            raise ValueError(f"worker {spec.id!r} has no connection of the kind openai")
        self.connection: OpenAIConnection = spec.connection
        for task_type in task_types:
            try:
                way_of(task_type, self.connection.vision)
            except ValueError as error:
                raise ValueError(f"worker {spec.id!r} cannot do that: {error}") from error
        self._spec = spec
        self._ways = {way_of(task_type, self.connection.vision) for task_type in task_types} or {"chat"}
        self._tools = {function_name(task_type.id): (task_type, worker) for task_type, worker in tools}
        self.chat = ChatClient(self.connection)

    @property
    def spec(self) -> WorkerSpec:
        """Its entry in the catalog."""
        return self._spec

    def fault(self) -> str | None:
        """A key that is missing, or that would travel unencrypted."""
        try:
            key_of(self.connection)
        except WorkerError as error:
            return str(error)
        return None

    async def run(self, task_type: TaskType, arguments: Mapping[str, Any], context: WorkerContext) -> Output:
        """Do one task. Texts are told to `context.on_chunk` as they come.

        Raises:
            WorkerError: wrong arguments, unreadable files, a missing key, whatever the service or the way to it did
                wrong, or an answer that is not what was asked for.
        """
        if task_type.id not in self._spec.task_types:
            raise WorkerError(
                f"worker {self._spec.id} cannot do {task_type.id}; it does {', '.join(self._spec.task_types)}"
            )
        try:
            way = way_of(task_type, self.connection.vision)
        except ValueError as error:
            raise WorkerError(str(error)) from error
        call = ToolCall(task_type, check_arguments(task_type, arguments), context)
        match way:
            case "chat":
                return await self._chat(call)
            case "transcription":
                return await self._transcribe(call)
            case "speech":
                return await self._speak(call)

    async def check(self) -> Health:
        """The smallest real call: a few tokens, half a second of silence, or one spoken word. It may cost a little."""
        watch = Stopwatch()
        if "chat" in self._ways:
            await self.complete([{"role": "user", "content": "Say: ok"}], max_output_tokens=16, may_be_cut=True)
        elif "transcription" in self._ways:
            await audio.transcribe(self.chat, "silence.wav", audio.silence(), 0.5, "")
        else:
            await audio.speak(self.chat, "ok")
        return Health(True, f"{self.connection.model} at {self.connection.base_url} answered", watch.seconds())

    async def complete(self, messages: Sequence[Message], **options: Any) -> Reply:
        """One answer to a conversation, for what is no task: see `ChatClient.complete`."""
        return await self.chat.complete(messages, **options)

    async def close(self) -> None:
        """Close the connections of the running event loop."""
        await self.chat.close()

    async def _chat(self, call: ToolCall) -> Output:
        task_type = call.task_type
        messages: list[dict[str, Any]] = await asyncio.to_thread(messages_of, call, self.connection.system)
        wanted = response_format(task_type, self.connection.structured)
        functions = [function_of(tool) for tool, _ in self._tools.values()]
        cost, tokens = 0.0, 0
        try:
            for round_number in range(self.connection.max_tool_rounds + 1):
                last = round_number == self.connection.max_tool_rounds
                reply = await self.chat.complete(
                    messages,
                    tools=() if last else functions,
                    response_format=wanted,
                    idempotency_key=_request_key(call.context, round_number),
                    on_chunk=call.context.on_chunk if is_plain(task_type) else None,
                )
                cost, tokens = cost + reply.cost, tokens + reply.usage.tokens
                if not reply.tool_requests:
                    return Output(read_answer(task_type, reply.text), cost=cost, tokens=tokens)
                if last or not functions:
                    break
                messages += [_asked(reply)]
                for number, request in enumerate(reply.tool_requests):
                    result, spent, used = await self._call_tool(request, call.context, f"{round_number}.{number}")
                    cost, tokens = cost + spent, tokens + used
                    messages.append({"role": "tool", "tool_call_id": request.id, "content": result})
            raise WorkerError(
                f"{self.connection.model} called tools {self.connection.max_tool_rounds} times and gave no answer "
                "(connection.max_tool_rounds)"
                if functions
                else f"{self.connection.model} called a tool, but was given none",
                retryable=True,
            )
        except WorkerError as error:  # what was billed before it counts too
            error.cost += cost
            error.tokens += tokens
            raise

    async def _call_tool(self, request: ToolRequest, context: WorkerContext, number: str) -> tuple[str, float, int]:
        """What a tool gave or what went wrong with it, as the model reads it; its cost and its tokens."""
        if request.name not in self._tools:
            return f"error: there is no tool {request.name[:64]!r}; there are {', '.join(self._tools)}", 0.0, 0
        task_type, worker = self._tools[request.name]
        try:
            arguments = json.loads(request.arguments or "{}")
        except (json.JSONDecodeError, RecursionError) as error:
            return f"error: the arguments are not JSON: {error}", 0.0, 0
        if not isinstance(arguments, dict):
            return "error: the arguments must be a JSON object", 0.0, 0
        inner = WorkerContext(context.root, context.output_folder, f"{context.task_id}-{number}-{task_type.id}")
        try:
            output = await worker.run(task_type, arguments, inner)
        except WorkerError as error:
            return f"error: {without_secrets(str(error), self.connection)}", error.cost, error.tokens
        text = json.dumps(dict(output.values), ensure_ascii=False)
        if len(text) > MAX_TOOL_RESULT:
            text = text[:MAX_TOOL_RESULT] + f"... ({len(text) - MAX_TOOL_RESULT} characters more)"
        return text, output.cost, output.tokens

    async def _transcribe(self, call: ToolCall) -> Output:
        name = call.task_type.inputs[0].name
        priced = self.connection.prices.per_audio_minute > 0
        file_name, data, seconds = await asyncio.to_thread(audio.read_recording, call, name, priced)
        language = call.string("language") if "language" in call.arguments else ""
        text, usage = await audio.transcribe(self.chat, file_name, data, seconds, language, _request_key(call.context))
        cost = self.connection.prices.cost(usage)
        if not text:
            raise WorkerError("the recording has no words that the model understood", cost=cost, tokens=usage.tokens)
        if call.context.on_chunk is not None:
            call.context.on_chunk(text)
        values = {call.task_type.outputs[0].name: text}
        return Output(values, cost=cost, tokens=usage.tokens)

    async def _speak(self, call: ToolCall) -> Output:
        text = await asyncio.to_thread(call.text, call.task_type.inputs[0].name)
        data, usage = await audio.speak(self.chat, text, _request_key(call.context))
        cost = self.connection.prices.cost(usage)
        try:
            path = await asyncio.to_thread(audio.write_recording, call, data)
        except WorkerError as error:
            error.cost += cost
            raise
        return Output({call.task_type.outputs[0].name: path}, cost=cost)


def _request_key(context: WorkerContext, round_number: int = 0) -> str:
    """The same for one attempt, also when a killed run goes on; another for the next attempt: it wants a new answer."""
    return f"{context.idempotency_key}-{context.attempt}-{round_number}" if context.idempotency_key else ""


def _asked(reply: Reply) -> dict[str, Any]:
    calls = [
        {"id": r.id, "type": "function", "function": {"name": r.name, "arguments": r.arguments}}
        for r in reply.tool_requests
    ]
    return {"role": "assistant", "content": reply.text or None, "tool_calls": calls}
