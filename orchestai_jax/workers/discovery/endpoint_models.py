"""Models of an endpoint that speaks OpenAI's protocol, as its `/models` lists them."""

from __future__ import annotations

import fnmatch
import os
import pathlib
import re
from collections.abc import Mapping, Sequence

import pydantic
import yaml

from orchestai_jax.workers.discovery.found import UNMEASURED_QUALITY, Found, worker_id
from orchestai_jax.workflow.catalog import WorkerSpec
from orchestai_jax.workflow.connections import OpenAIConnection
from orchestai_jax.workflow.prices import Prices

LANGUAGE_TASKS = (
    "answer_question",
    "translate_text",
    "write_text",
    "rewrite_text",
    "classify_text",
    "extract_fields",
)
VISION_TASKS = ("describe_image", "caption_image")

_OF_OTHER_KINDS = re.compile(
    r"embed|moderation|rerank|dall-e|image|sora|realtime|whisper-translate|davinci|babbage|guard", re.IGNORECASE
)
_TRANSCRIBES = re.compile(r"whisper|transcribe|parakeet", re.IGNORECASE)
_SPEAKS = re.compile(r"(^|[-/_])tts|kokoro|orpheus", re.IGNORECASE)


async def list_models(connection: OpenAIConnection) -> list[str]:
    """The names that an endpoint lists, sorted.

    Raises:
        WorkerError: the endpoint cannot be reached or refuses, or the key is missing.
        ModuleNotFoundError: the extra `openai` is not installed.
    """
    from orchestai_jax.workers.openai_compatible.chat import ChatClient
    from orchestai_jax.workers.openai_compatible.errors import worker_error

    client = ChatClient(connection)
    try:
        raw = await client.send(lambda c: c.models.with_raw_response.list())
        try:
            return sorted({model.id for model in raw.parse().data})
        except (AttributeError, TypeError, ValueError) as error:
            raise worker_error(error, connection) from error
    finally:
        await client.close()


async def find_endpoint_models(
    connection: OpenAIConnection,
    *,
    pattern: str = "*",
    prices: Mapping[str, Prices] | None = None,
    task_types: Sequence[str] = (),
) -> Found:
    """The models of an endpoint as workers.

    `/models` tells names only, so what a model can do is taken from its name: names of speech recognisers and of
    speakers get those tasks, names of embedders and image generators are passed over, all others are language models.

    Args:
        connection: the endpoint; its `model` does not matter, its other fields go into every worker.
        pattern: the names that are wanted, as `gpt-*`.
        prices: pattern of names to prices; the first that fits counts.
        task_types: what every model is to do, in place of what its name says.

    Raises:
        WorkerError: the endpoint cannot be reached or refuses.
        ModuleNotFoundError: the extra `openai` is not installed.
    """
    names = await list_models(connection)
    workers: list[WorkerSpec] = []
    passed_over: list[tuple[str, str]] = []
    for name in names:
        if not fnmatch.fnmatchcase(name, pattern):
            continue
        tasks = tuple(task_types) or _tasks_of(name, connection.vision)
        if not tasks:
            passed_over.append((name, "its name is that of a model for other tasks"))
            continue
        price = price_of(name, prices or {})
        own = connection.model_copy(update={"model": name, "prices": price or connection.prices})
        workers.append(
            WorkerSpec(
                id=worker_id("openai", name),
                model_type="language_model" if tasks[0] in LANGUAGE_TASKS else "model",
                task_types=tasks,
                description=f"{name} at {connection.base_url}.",
                quality=UNMEASURED_QUALITY,
                connection=own,
            )
        )
    return Found(tuple(workers), passed_over=tuple(passed_over))


def read_prices(path: str | os.PathLike[str]) -> dict[str, Prices]:
    """A price table: YAML of model name (or pattern, as `gpt-*`) to prices.

    Raises:
        ValueError: naming the file and what is wrong in it.
    """
    try:
        content = yaml.safe_load(pathlib.Path(path).read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: a price table is a mapping of model names to prices")
    table = {}
    for name, row in content.items():
        try:
            table[str(name)] = Prices.model_validate(row)
        except pydantic.ValidationError as error:
            first = error.errors(include_url=False)[0]
            field = ".".join(map(str, first["loc"])) or "row"
            raise ValueError(f"{path}: {name}: {field}: {first['msg']}") from error
    return table


def price_of(name: str, table: Mapping[str, Prices]) -> Prices | None:
    """The first row of a price table whose name or pattern a model's name fits; None where none does."""
    return next((row for wanted, row in table.items() if fnmatch.fnmatchcase(name, wanted)), None)


def _tasks_of(name: str, vision: bool) -> tuple[str, ...]:
    if _TRANSCRIBES.search(name):
        return ("transcribe_audio",)
    if _SPEAKS.search(name):
        return ("speak_text",)
    if _OF_OTHER_KINDS.search(name):
        return ()
    return (*LANGUAGE_TASKS, *VISION_TASKS) if vision else LANGUAGE_TASKS
