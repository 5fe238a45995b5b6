"""The package's own language model as a worker: served in this process, in batches, its text told as it comes.

The only file of the room that leads to JAX: the model is imported when the first task of such a worker runs.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import pathlib
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from orchestai_jax.workers.arguments import check_arguments
from orchestai_jax.workers.health import Health, Stopwatch
from orchestai_jax.workers.language_model_folder import READS_CHARACTERS, folder_fault
from orchestai_jax.workers.local_tool import PRICE_PER_CORE_SECOND, ToolCall
from orchestai_jax.workers.prompts import check_chat, is_plain, messages_of
from orchestai_jax.workers.worker import Output, WorkerContext, WorkerError
from orchestai_jax.workflow.catalog import TaskType, WorkerSpec
from orchestai_jax.workflow.connections import LanguageModelConnection


class LocalLanguageModel:
    """A language model in this process. Tasks that wait while it answers others are its next batch.

    The cost of a task is its share of all cores for the time of its batch.

    Args:
        spec: its entry in the catalog; `connection` says which model, and how it answers.
        task_types: the task types that it is to do; each is checked here, before anything is loaded.

    Raises:
        ValueError: the connection is of another kind, or a task type takes or gives anything but texts.
    """

    def __init__(self, spec: WorkerSpec, task_types: Sequence[TaskType] = ()) -> None:
        if not isinstance(spec.connection, LanguageModelConnection):
            raise ValueError(f"worker {spec.id!r} has no connection of the kind language_model")
        self.connection: LanguageModelConnection = spec.connection
        for task_type in task_types:
            try:
                _check(task_type)
            except ValueError as error:
                raise ValueError(f"worker {spec.id!r} cannot do that: {error}") from error
        self._spec = spec
        self._served: _Served | None = None
        self._lock = threading.Lock()
        self._queues: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Queue] = weakref.WeakKeyDictionary()

    @property
    def spec(self) -> WorkerSpec:
        """Its entry in the catalog."""
        return self._spec

    def fault(self) -> str | None:
        """A model that is not there, or none that language tasks can be given to."""
        fault = folder_fault(pathlib.Path(self.connection.model))
        return None if fault is None else f"worker {self._spec.id}: {fault}"

    async def run(self, task_type: TaskType, arguments: Mapping[str, Any], context: WorkerContext) -> Output:
        """Do one task; the event loop stays free meanwhile. The first one loads the model and compiles it.

        Raises:
            WorkerError: wrong arguments, unreadable files, a model that cannot be loaded, a text that is too long for
                it, or an answer that is empty or was cut off.
        """
        if task_type.id not in self._spec.task_types:
            raise WorkerError(f"worker {self._spec.id} cannot do {task_type.id}")
        try:
            _check(task_type)
        except ValueError as error:
            raise WorkerError(str(error)) from error
        call = ToolCall(task_type, check_arguments(task_type, arguments), context)
        messages = await asyncio.to_thread(messages_of, call, "")
        answer = await self._answer(messages[0]["content"], context.on_chunk)
        if answer.cut and not self.connection.may_be_cut:
            raise WorkerError(
                f"{self.connection.model}: the answer is longer than {self.connection.max_new_tokens} tokens; raise "
                "connection.max_new_tokens, or name texts that end it in connection.stop",
                cost=answer.cost,
                tokens=answer.tokens,
            )
        text = answer.text.strip()
        if not text:
            message = f"{self.connection.model} answered nothing"
            raise WorkerError(message, cost=answer.cost, tokens=answer.tokens)
        return Output({task_type.outputs[0].name: text}, cost=answer.cost, tokens=answer.tokens)

    async def check(self) -> Health:
        """Load the model and have it answer twice; the second answer, of at most 8 tokens, is timed."""
        await self._answer("Say: ok", None, 8)
        watch = Stopwatch()
        answer = await self._answer("Say: ok", None, 8)
        said = f"{self.connection.model} gave {answer.new_tokens} tokens"
        return Health(True, said, watch.seconds())

    async def _answer(
        self, prompt: str, on_chunk: Callable[[str], None] | None, max_new_tokens: int | None = None
    ) -> _Answer:
        served = await asyncio.to_thread(self._load)
        limit = max_new_tokens or self.connection.max_new_tokens
        tokens = served.encode(self.connection.template.replace("{prompt}", prompt), limit)
        loop = asyncio.get_running_loop()
        queue = self._queues.setdefault(loop, _Queue(self.connection.batch, self._run_batch))
        return await queue.ask(_Request(tokens, limit, on_chunk, loop.create_future(), loop))

    def _load(self) -> _Served:
        with self._lock:
            if self._served is None:
                self._served = _Served(self.connection)
            return self._served

    def _run_batch(self, requests: Sequence[_Request]) -> None:
        with self._lock:  # the event loops of other threads wait
            assert self._served is not None
            self._served.answer(requests)


@dataclasses.dataclass(frozen=True)
class _Answer:
    text: str
    cut: bool
    new_tokens: int
    tokens: int
    cost: float


@dataclasses.dataclass(eq=False)
class _Request:
    """A prompt on its way through a batch. Its future is touched on its event loop only."""

    prompt: Sequence[int]
    limit: int
    on_chunk: Callable[[str], None] | None
    future: asyncio.Future[_Answer]
    loop: asyncio.AbstractEventLoop
    cancelled: bool = False
    tokens: list[int] = dataclasses.field(default_factory=list)
    text: str = ""
    told: int = 0
    ended: bool = False
    """Whether it came to an end of its own, a stop token or text."""

    @property
    def over(self) -> bool:
        return self.ended or self.cancelled or len(self.tokens) >= self.limit

    def tell(self, upto: int) -> None:
        """Tell the listener the text up to a place."""
        if self.on_chunk is not None and upto > self.told and not self.cancelled:
            self.loop.call_soon_threadsafe(self.on_chunk, self.text[self.told : upto])
        self.told = max(self.told, upto)


class _Queue:
    """Requests of one event loop, answered in batches, one batch after the other."""

    def __init__(self, batch: int, run: Callable[[Sequence[_Request]], None]) -> None:
        self._batch, self._run = batch, run
        self._waiting: list[_Request] = []
        self._driver: asyncio.Task[None] | None = None

    async def ask(self, request: _Request) -> _Answer:
        self._waiting.append(request)
        if self._driver is None or self._driver.done():
            self._driver = asyncio.create_task(self._drive(), name="batches of a language model")
        try:
            return await request.future
        except asyncio.CancelledError:
            request.cancelled = True
            raise

    async def _drive(self) -> None:
        await asyncio.sleep(0)  # what is asked in the same turn of the loop goes along
        while self._waiting:
            requests = [r for r in self._waiting[: self._batch] if not r.cancelled]
            del self._waiting[: self._batch]
            if not requests:
                continue
            try:
                await asyncio.to_thread(self._run, requests)
            except Exception as error:  # noqa: BLE001 - whatever it is, those who wait are to hear of it
                line = " ".join(f"{type(error).__name__}: {error}".split())[:300]
                for request in requests:
                    if not request.future.done():
                        request.future.set_exception(WorkerError(f"the language model failed with {line}"))


class _Served:
    """A loaded model, its tokenizer, and how it answers."""

    def __init__(self, connection: LanguageModelConnection) -> None:
        from orchestai_jax.language_model.generation import Generator
        from orchestai_jax.language_model.sampling import Sampling
        from orchestai_jax.language_model.saved import load_language_model
        from orchestai_jax.language_model.serving_model import serving_model
        from orchestai_jax.language_model.tokenizers import CharacterTokenizer

        self._connection = connection
        try:
            loaded = load_language_model(connection.model)
            if loaded.tokenizer is None:
                raise ValueError("the folder holds no tokenizer.json")
            if isinstance(loaded.tokenizer, CharacterTokenizer):
                raise ValueError(READS_CHARACTERS)
            model = serving_model(loaded.config, loaded.parameters, head=connection.head, release=True)
            self._sampling = Sampling(connection.temperature, connection.top_k, connection.top_p, connection.seed)
        except (ValueError, OSError, json.JSONDecodeError) as error:
            line = " ".join(str(error).split())[:300]
            raise WorkerError(f"the language model {connection.model} cannot be loaded: {line}") from error
        self._tokenizer = loaded.tokenizer
        self._positions = loaded.config.max_positions
        self._generator = Generator(model, cache=connection.cache)
        self._stops = frozenset(loaded.stop_tokens)

    def encode(self, text: str, limit: int) -> Sequence[int]:
        """The tokens of a prompt. Raises WorkerError where the model cannot read it, or has no room to answer."""
        try:
            tokens = self._tokenizer.encode_prompt(text).tolist()
        except ValueError as error:
            raise WorkerError(f"{self._connection.model} cannot read the task: {error}") from error
        if not tokens or len(tokens) + limit > self._positions:
            raise WorkerError(
                f"the task has {len(tokens)} tokens; with {limit} for the answer (connection.max_new_tokens) "
                f"{self._connection.model} has room for {self._positions}"
            )
        return tokens

    def answer(self, requests: Sequence[_Request]) -> None:
        """Answer a batch, those of one limit together: every prompt has room for its own limit, not for another's."""
        for limit in sorted({request.limit for request in requests}):
            self._answer_together([request for request in requests if request.limit == limit], limit)

    def _answer_together(self, requests: Sequence[_Request], limit: int) -> None:
        """Rows are filled up to a power of two, so that few programs are compiled."""
        started = time.perf_counter()
        prompts = [request.prompt for request in requests]
        prompts += [prompts[0]] * ((1 << (len(prompts) - 1).bit_length()) - len(prompts))
        steps = self._generator.stream(prompts, max_new_tokens=limit, sampling=self._sampling, stop_tokens=self._stops)
        for step in steps:
            for request, token in zip(requests, step[: len(requests)], strict=True):
                if token is not None and not request.over:
                    self._take(request, token)
            if all(request.over for request in requests):
                break
        cost = (time.perf_counter() - started) * _cores() * PRICE_PER_CORE_SECOND / len(requests)
        for request in requests:
            request.tell(len(request.text))
            new = len(request.tokens)
            whole = _Answer(request.text, not request.ended, new, len(request.prompt) + new, cost)
            request.loop.call_soon_threadsafe(_settle, request.future, whole)

    def _take(self, request: _Request, token: int) -> None:
        if token in self._stops:
            request.ended = True
            return
        request.tokens.append(token)
        request.text = self._tokenizer.decode(request.tokens)
        ends = [place for place in map(request.text.find, self._connection.stop) if place >= 0]
        if ends:
            request.text, request.ended = request.text[: min(ends)], True
            return
        # what may yet become a stop text, or a letter of several bytes, is not told before it is known
        begun = [n for end in self._connection.stop for n in range(1, len(end)) if request.text.endswith(end[:n])]
        torn = len(request.text) - len(request.text.rstrip("\N{REPLACEMENT CHARACTER}"))
        request.tell(len(request.text) - max([torn, *begun]))


def _settle(future: asyncio.Future[_Answer], answer: _Answer) -> None:
    if not future.done():
        future.set_result(answer)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _check(task_type: TaskType) -> None:
    check_chat(task_type, vision=False)
    if not is_plain(task_type):
        given = ", ".join(f"{port.name} ({port.type})" for port in task_type.outputs)
        raise ValueError(f"{task_type.id} gives {given}; a local language model gives one text")
