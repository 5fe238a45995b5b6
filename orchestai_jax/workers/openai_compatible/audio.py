"""The audio endpoints: a recording to text, a text to a recording."""

from __future__ import annotations

import importlib
import io
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

from orchestai_jax.workers.local_tool import ToolCall
from orchestai_jax.workers.openai_compatible.chat import ChatClient, keyed
from orchestai_jax.workers.openai_compatible.errors import without_secrets
from orchestai_jax.workers.worker import WorkerError
from orchestai_jax.workflow.prices import Usage

MAX_AUDIO_BYTES = 25_000_000
"""Largest recording that is sent."""


async def transcribe(
    client: ChatClient, name: str, data: bytes, seconds: float, language: str, idempotency_key: str = ""
) -> tuple[str, Usage]:
    """The words of a recording.

    Args:
        client: the endpoint.
        name: of the file; its ending tells the format.
        data: the file.
        seconds: length of the recording; what the service says takes its place.
        language: two letters, empty where it is not known.
        idempotency_key: sent along where it is not empty.
    """
    options: dict[str, Any] = {"language": language} if language else {}
    options |= keyed(idempotency_key)
    model = client.connection.model
    raw = await client.send(
        lambda c: c.audio.transcriptions.with_raw_response.create(
            model=model, file=(name, data), response_format="json", **options
        )
    )
    try:
        answer = raw.parse()
        text, used = answer.text, getattr(answer, "usage", None)
    except (AttributeError, ValueError) as error:
        line = without_secrets(str(error), client.connection)
        cost = client.connection.prices.cost(Usage(audio_seconds=seconds, calls=1))
        message = f"{model} answered something that is no transcript: {line}"
        raise WorkerError(message, retryable=True, cost=cost) from error
    usage = Usage(
        input_tokens=getattr(used, "input_tokens", None) or 0,
        output_tokens=getattr(used, "output_tokens", None) or 0,
        audio_seconds=getattr(used, "seconds", None) or seconds,
        calls=1,
    )
    return text.strip(), usage


async def speak(client: ChatClient, text: str, idempotency_key: str = "") -> tuple[bytes, Usage]:
    """A text, spoken: the bytes of a WAV file."""
    connection = client.connection
    raw = await client.send(
        lambda c: c.audio.speech.with_raw_response.create(
            model=connection.model, voice=connection.voice, input=text, response_format="wav", **keyed(idempotency_key)
        )
    )
    usage = Usage(characters=len(text), calls=1)
    data: bytes = raw.content
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        message = f"{connection.model} answered something that is no WAV recording"
        raise WorkerError(message, retryable=True, cost=connection.prices.cost(usage))
    return data, usage


def read_recording(call: ToolCall, name: str, priced: bool) -> tuple[str, bytes, float]:
    """Name, bytes and length in seconds of the recording that an input names.

    The length is 0 where nothing is charged by it and nothing here can tell it.
    """
    path = call.file(name)
    data = path.read_bytes()
    if len(data) > MAX_AUDIO_BYTES:
        raise WorkerError(f"{path.name!r} has {len(data)} bytes; at most {MAX_AUDIO_BYTES} are sent: trim it first")
    return path.name, data, _seconds(path, priced)


def write_recording(call: ToolCall, data: bytes) -> str:
    """Write a WAV file; returns its path relative to the root."""
    return call.write(".wav", lambda path: path.write_bytes(data))


def silence(seconds: float = 0.5, rate: int = 16_000) -> bytes:
    """A WAV file in which nothing is heard, for checks."""
    data = io.BytesIO()
    with wave.open(data, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(bytes(2 * round(seconds * rate)))
    return data.getvalue()


def _seconds(path: Path, priced: bool) -> float:
    try:
        info: Callable[[str], Any] = importlib.import_module("soundfile").info
    except ModuleNotFoundError as error:
        if priced:
            raise WorkerError(
                'the price goes by the recording\'s length, which soundfile reads: pip install "orchestai-jax[tools]"'
            ) from error
        return 0.0
    try:
        return float(info(str(path)).duration)
    except RuntimeError as error:  # mp4 and webm, which soundfile does not read
        if priced:
            raise WorkerError(f"{path.name!r}: its length, which the price goes by, cannot be read: {error}") from error
        return 0.0
