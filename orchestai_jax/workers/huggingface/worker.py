"""A model of the Hugging Face Hub, or of a folder, as a worker: loaded at its first task, run in a thread."""

from __future__ import annotations

import asyncio
import pathlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from orchestai_jax.workers.arguments import check_arguments
from orchestai_jax.workers.health import Health
from orchestai_jax.workers.huggingface import pipelines
from orchestai_jax.workers.local_tool import PRICE_PER_CORE_SECOND, ToolCall
from orchestai_jax.workers.worker import Output, WorkerContext, WorkerError
from orchestai_jax.workflow.catalog import TaskType, WorkerSpec
from orchestai_jax.workflow.connections import HuggingFaceConnection

TAKES = {
    "image-classification": "image",
    "object-detection": "image",
    "image-text-to-text": "image",
    "automatic-speech-recognition": "audio",
    "text-to-audio": "text",
}
"""Pipeline → type of the one input of its task types."""

GIVES: dict[str, frozenset[str]] = {
    "image-classification": frozenset({"text", "json"}),
    "object-detection": frozenset({"json"}),
    "image-text-to-text": frozenset({"text"}),
    "automatic-speech-recognition": frozenset({"text"}),
    "text-to-audio": frozenset({"audio"}),
}
"""Pipeline → types of outputs that its task types may have."""


class HuggingFaceWorker:
    """A model that transformers runs. One task at a time: a pipeline is not made for several threads.

    The cost of a task is that of all of torch's threads for its time; on another device than the CPU, what the catalog
    declares.

    Args:
        spec: its entry in the catalog; `connection` says which model, and which pipeline runs it.
        task_types: the task types that it is to do; each is checked here, before anything is loaded.

    Raises:
        ValueError: the connection is of another kind, or a task type is none for the pipeline.
    """

    def __init__(self, spec: WorkerSpec, task_types: Sequence[TaskType] = ()) -> None:
        if not isinstance(spec.connection, HuggingFaceConnection):
            raise ValueError(f"worker {spec.id!r} has no connection of the kind huggingface")
        self.connection: HuggingFaceConnection = spec.connection
        for task_type in task_types:
            try:
                check_fits(task_type, self.connection.task)
            except ValueError as error:
                raise ValueError(f"worker {spec.id!r} cannot do that: {error}") from error
        self._spec = spec
        self._lock = threading.Lock()
        self._pipeline: pipelines.Pipeline | None = None

    @property
    def spec(self) -> WorkerSpec:
        """Its entry in the catalog."""
        return self._spec

    def fault(self) -> str | None:
        """A library or folder that is missing."""
        missing = pipelines.missing_library()
        if missing is not None:
            remedy = 'pip install "orchestai-jax[huggingface]"'
            return f"worker {self._spec.id} needs the library {missing!r}; install it with {remedy}"
        model = self.connection.model
        if model.startswith((".", "/")) and not pathlib.Path(model).is_dir():
            return f"worker {self._spec.id}: there is no folder {model!r} with a model"
        return None

    async def run(self, task_type: TaskType, arguments: Mapping[str, Any], context: WorkerContext) -> Output:
        """Do one task; the event loop stays free meanwhile. The first one loads the model, or downloads it.

        A cancelled call's thread cannot be stopped; it ends in the background without leaving an output file.

        Raises:
            WorkerError: wrong arguments, unreadable files, or a model that cannot be loaded or fails.
        """
        if task_type.id not in self._spec.task_types:
            raise WorkerError(f"worker {self._spec.id} cannot do {task_type.id}")
        try:
            check_fits(task_type, self.connection.task)
        except ValueError as error:
            raise WorkerError(str(error)) from error
        call = ToolCall(task_type, check_arguments(task_type, arguments), context)
        try:
            values, seconds = await asyncio.to_thread(self._work, lambda: self._values(call))
        except asyncio.CancelledError:
            call.cancelled.set()
            raise
        if context.on_chunk is not None and task_type.outputs[0].type == "text":
            context.on_chunk(values[task_type.outputs[0].name])
        return Output(values, cost=self._cost(seconds))

    async def check(self) -> Health:
        """Load the model and run it twice on something small; the second run is timed."""

        def try_out() -> None:
            from orchestai_jax.workers.huggingface import trial

            trial.try_out(self._loaded(), self.connection.task)

        await asyncio.to_thread(self._work, try_out)
        _, seconds = await asyncio.to_thread(self._work, try_out)
        return Health(True, f"{self.connection.model} runs on {self.connection.device}", seconds)

    def _work(self, do: Callable[[], Any]) -> tuple[Any, float]:
        """What a function gives, and the seconds that it took, the model being loaded before."""
        with self._lock:
            self._loaded()
            started = time.perf_counter()
            try:
                return do(), time.perf_counter() - started
            except WorkerError as error:
                error.cost += self._cost(time.perf_counter() - started)
                raise
            except MemoryError as error:
                raise WorkerError(f"{self._spec.id}: not enough memory for this input") from error
            except Exception as error:
                line = " ".join(str(error).split()) or type(error).__name__
                raise WorkerError(f"{self._spec.id} failed with {type(error).__name__}: {line[:300]}") from error

    def _loaded(self) -> pipelines.Pipeline:
        if self._pipeline is None:
            self._pipeline = pipelines.load_pipeline(self.connection)
        return self._pipeline

    def _cost(self, seconds: float) -> float:
        if self.connection.device != "cpu":
            return self._spec.cost
        return seconds * pipelines.cores_in_use() * PRICE_PER_CORE_SECOND

    def _values(self, call: ToolCall) -> dict[str, Any]:
        if call.cancelled.is_set():
            raise WorkerError("cancelled while it waited for the model")
        name = call.task_type.inputs[0].name
        by_type: dict[str, Any] = {}
        match self.connection.task:
            case "image-classification":
                scores = pipelines.classify(self._loaded(), _picture(call, name), self.connection.top_k)
                by_type = {"json": scores, "text": scores[0]["label"]}
            case "object-detection":
                threshold = self.connection.threshold
                by_type = {"json": pipelines.detect(self._loaded(), _picture(call, name), threshold)}
            case "image-text-to-text":
                question = next((str(v) for n, v in call.arguments.items() if n != name and v is not None), "")
                tokens = self.connection.max_new_tokens
                by_type = {"text": pipelines.tell(self._loaded(), _picture(call, name), question, tokens)}
            case "automatic-speech-recognition":
                rate = pipelines.rate_of(self._loaded())
                samples = _recording(call, name, rate)
                language = str(call.arguments.get("language") or "")
                tokens = self.connection.max_new_tokens
                by_type = {"text": pipelines.transcribe(self._loaded(), samples, rate, tokens, language)}
            case "text-to-audio":
                from orchestai_jax.workers.audio_tools import write_audio

                samples, rate = pipelines.speak(self._loaded(), call.text(name))
                by_type = {"audio": write_audio(call, samples[:, None], rate)}
        if by_type.get("text") == "":
            raise WorkerError(f"{self.connection.model} found no words")
        return {port.name: by_type[port.type] for port in call.task_type.outputs}


def check_fits(task_type: TaskType, pipeline: str) -> None:
    """Raise ValueError where a pipeline cannot do a task type, naming the input or output that stands in the way."""
    takes = [port.type for port in task_type.inputs]
    if takes != [TAKES[pipeline]]:
        given = ", ".join(takes) or "nothing"
        raise ValueError(f"{task_type.id} takes {given}; a pipeline {pipeline} takes one {TAKES[pipeline]}")
    for port in task_type.outputs:
        if port.type not in GIVES[pipeline]:
            able = " and ".join(sorted(GIVES[pipeline]))
            raise ValueError(f"{task_type.id} gives {port.name} of the type {port.type}; {pipeline} gives {able}")


def _picture(call: ToolCall, name: str) -> Any:
    from orchestai_jax.workers.image_files import on_white, read_image

    return on_white(read_image(call.file(name))).convert("RGB")


def _recording(call: ToolCall, name: str, rate: int) -> Any:
    import numpy as np

    from orchestai_jax.workers.audio_tools import polyphase, read_audio

    samples, its_rate = read_audio(call.file(name))
    return polyphase(samples.mean(axis=1, keepdims=True), its_rate, rate)[:, 0].astype(np.float32)
