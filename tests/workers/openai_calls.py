"""Calls of an OpenAI-compatible worker, as the tests make them."""

import asyncio

import pytest

from orchestai_jax.workers import WorkerContext, WorkerError, load_bundled_catalog
from orchestai_jax.workers.openai_compatible import OpenAIWorker
from orchestai_jax.workflow import OpenAIConnection, Prices, TaskType, WorkerSpec

CATALOG = load_bundled_catalog("model_tasks")


TEN_CENTS = Prices(per_call=0.1)


QUESTION = {"question": "Why?", "text": "Because."}


def worker(url, task_type="answer_question", tools=(), **connection):
    connection = {"model": "m", "base_url": f"{url}/v1", "key_env": None, **connection}
    kind = task_type if isinstance(task_type, TaskType) else CATALOG.task_type(task_type)
    spec = WorkerSpec(id="gpt", task_types=(kind.id,), connection=OpenAIConnection(**connection))
    return OpenAIWorker(spec, [kind], tools)


def run(one, root, task_type="answer_question", chunks=None, **arguments):
    kind = task_type if isinstance(task_type, TaskType) else CATALOG.task_type(task_type)
    told = None if chunks is None else chunks.append
    context = WorkerContext(root, root / "out", "t1", on_chunk=told)

    async def once():
        try:
            return await one.run(kind, arguments or QUESTION, context)
        finally:
            await one.close()

    return asyncio.run(once())


def failure(one, root, task_type="answer_question", **arguments) -> WorkerError:
    with pytest.raises(WorkerError) as caught:
        run(one, root, task_type, **arguments)
    assert "\n" not in str(caught.value)
    return caught.value
