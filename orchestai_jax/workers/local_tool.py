"""A local tool: a plain function on real files, run in a thread, with its cost measured."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import importlib
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from orchestai_jax.workers.arguments import check_arguments
from orchestai_jax.workers.health import Health
from orchestai_jax.workers.paths import locate, output_name, resolve_inside, write_output
from orchestai_jax.workers.thread_places import ThreadPlaces
from orchestai_jax.workers.worker import Output, WorkerContext, WorkerError
from orchestai_jax.workflow.catalog import TaskType, WorkerSpec
from orchestai_jax.workflow.connections import Connection, WebConnection

PRICE_PER_CORE_SECOND = 3e-5
"""US dollars for a second of one core: about what serverless functions charge for a core with its memory (2025)."""

MAX_TEXT_BYTES = 16_000_000
"""Largest text that is read, in bytes."""

TEXT_SUFFIXES = frozenset({".txt", ".md", ".markdown", ".rst", ".log", ".csv", ".tsv", ".jsonl", ".json", ".html"})
"""A one-line text that ends so is meant as a file name: where no such file exists that is an error, not a text."""


@dataclasses.dataclass(frozen=True)
class ToolCall:
    """What a tool function gets: its checked arguments, the folder to write to, and what it may reach."""

    task_type: TaskType
    arguments: Mapping[str, Any]
    context: WorkerContext
    cancelled: threading.Event = dataclasses.field(default_factory=threading.Event)
    connection: Connection | None = None

    def file(self, name: str) -> Path:
        """The existing file inside the root that the input names."""
        value = self.arguments[name]
        if not isinstance(value, (str, os.PathLike)):
            raise WorkerError(f"{name} must be the path of a file, not {type(value).__name__}")
        return resolve_inside(self.context.root, os.fspath(value))

    def text(self, name: str) -> str:
        """The text of the input: the content of the file that it names, or else the text itself."""
        value = self.arguments[name]
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str):
            raise WorkerError(f"{name} must be a text or the path of a text file, not {type(value).__name__}")
        path = self.text_file(name)
        if path is not None:
            return read_text(path, value)
        if not value.strip():
            raise WorkerError(f"{name} is empty; give a text or the path of a text file")
        if len(value.encode(errors="replace")) > MAX_TEXT_BYTES:
            raise WorkerError(f"{name} is longer than {MAX_TEXT_BYTES // 1_000_000} MB")
        return value

    def text_file(self, name: str) -> Path | None:
        """The file that a text input names, None where the input is the text itself."""
        value = self.arguments[name]
        if not isinstance(value, str) or not value.strip() or len(value) > 1024 or "\n" in value:
            return None
        looks_like_file = Path(value).suffix.lower() in TEXT_SUFFIXES
        try:
            path = locate(self.context.root, value)
        except WorkerError:
            # "/etc/passwd" and "../x.txt" mean files and are refused; "and/or", "https://..." and "A: b?" are texts
            root = self.context.root.resolve()
            if looks_like_file or (" " not in value and "://" not in value and os.path.exists(root / value)):
                raise
            return None
        if looks_like_file or (path is not None and path.is_file()):
            return resolve_inside(self.context.root, value)
        return None

    def given(self, name: str) -> bool:
        """Whether the argument has a value."""
        return self.arguments[name] is not None

    def integer(self, name: str, low: int, high: int) -> int:
        """A whole number in [low, high]."""
        return int(self.number(name, low, high))

    def number(self, name: str, low: float, high: float) -> float:
        """A number in [low, high]."""
        value = self.arguments[name]
        if value is None:
            raise WorkerError(f"{self.task_type.id} needs the parameter {name!r}")
        if not low <= value <= high:
            raise WorkerError(f"{name} must be between {low:g} and {high:g}, not {value:g}")
        return value

    def string(self, name: str) -> str:
        """A string, empty where none was given."""
        value = self.arguments[name]
        return "" if value is None else value

    def write(self, suffix: str, write: Callable[[Path], object], label: str | None = None) -> str:
        """Write an output file whole or not at all; returns its path relative to the root."""
        name = output_name(self.context.task_id, label or self.task_type.id, suffix)
        return write_output(self.context, name, write, wanted=lambda: not self.cancelled.is_set())

    def write_text(self, suffix: str, text: str) -> str:
        """Write a UTF-8 text file; returns its path relative to the root."""
        return self.write(suffix, lambda path: path.write_bytes(text.encode("utf-8", errors="replace")))


ToolFunction = Callable[[ToolCall], dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class LocalTool:
    """A worker that calls a function of this package in a thread.

    Attributes:
        spec: as the catalog declares it.
        module: module of this package that holds the function; imported at the first call, so that the tool libraries
            are needed only by who uses them.
        function: its name.
        reserves_pool: the library computes in a thread pool of its own, whose CPU time no thread clock sees: the cost
            is then that of the whole pool reserved for the elapsed time.
    """

    spec: WorkerSpec
    module: str
    function: str
    reserves_pool: bool = False
    _places: ThreadPlaces = dataclasses.field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_places", ThreadPlaces(self.spec.limits.max_concurrency))

    async def run(self, task_type: TaskType, arguments: Mapping[str, Any], context: WorkerContext) -> Output:
        """Do one task; the event loop stays free meanwhile.

        A cancelled call's thread cannot be stopped; it ends in the background without leaving an output file. Until
        then it counts against the worker's `limits.max_concurrency`.

        Raises:
            WorkerError: wrong arguments, unreadable files, a missing library, or a failure of the tool.
        """
        if task_type.id not in self.spec.task_types:
            can = ", ".join(self.spec.task_types)
            raise WorkerError(f"worker {self.spec.id} cannot do {task_type.id}; it does {can}")
        call = ToolCall(task_type, check_arguments(task_type, arguments), context, connection=self.spec.connection)
        try:
            return await self._places.run(lambda: self._run(call))
        except asyncio.CancelledError:
            call.cancelled.set()
            raise

    async def check(self) -> Health:
        """Whether the libraries that the tool needs are here, and there is something that it may do."""
        await asyncio.to_thread(self.load)
        fault = self.fault()
        return Health(fault is None, fault or "ready")

    def fault(self) -> str | None:
        """A tool that fetches and may fetch from nowhere."""
        if isinstance(self.spec.connection, WebConnection) and not self.spec.connection.allow:
            return f"worker {self.spec.id} may fetch nothing: list hosts in the catalog, under its connection.allow"
        return None

    def load(self) -> ToolFunction:
        """The function behind the tool.

        Raises:
            WorkerError: a library of the extra `tools` is not installed.
        """
        try:
            module = importlib.import_module(f"orchestai_jax.workers.{self.module}")
        except ModuleNotFoundError as error:
            if error.name is None or error.name.startswith("orchestai_jax"):
                raise
            raise WorkerError(
                f'{self.spec.id} needs the library {error.name!r}; install it with pip install "orchestai-jax[tools]"'
            ) from error
        return getattr(module, self.function)

    def _run(self, call: ToolCall) -> Output:
        function = self.load()
        started, cpu_started = time.perf_counter(), time.thread_time()
        try:
            values = function(call)
        except WorkerError:
            raise
        except MemoryError as error:
            raise WorkerError(f"{self.spec.id}: not enough memory for this input") from error
        except Exception as error:
            line = " ".join(str(error).split()) or type(error).__name__
            raise WorkerError(f"{self.spec.id} failed with {type(error).__name__}: {line[:300]}") from error
        core_seconds = time.thread_time() - cpu_started
        if self.reserves_pool:
            core_seconds = max(core_seconds, (time.perf_counter() - started) * _pool_size())
        return Output(values, cost=core_seconds * PRICE_PER_CORE_SECOND)


@functools.cache
def _pool_size() -> int:
    import polars

    return polars.thread_pool_size()


def read_text(path: Path, name: str) -> str:
    """The content of a text file: UTF-8 (with or without mark) or UTF-16 with its mark.

    Raises:
        WorkerError: empty, too large, binary or of another encoding.
    """
    if path.stat().st_size > MAX_TEXT_BYTES:
        raise WorkerError(f"{name!r} is larger than {MAX_TEXT_BYTES // 1_000_000} MB")
    data = path.read_bytes()
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise WorkerError(f"{name!r} is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    if "\0" in text:
        raise WorkerError(f"{name!r} is a binary file, not a text")
    if not text.strip():
        raise WorkerError(f"{name!r} is empty")
    return text.replace("\r\n", "\n")
