"""Engine, journal and model worker together: the header that a service tells a repeated request by."""

import asyncio
import shutil
import threading

import pytest
from loopback_server import serving
from openai_server import answer_chat

from orchestai_jax.execution import execute, resume
from orchestai_jax.workers import load_bundled_catalog
from orchestai_jax.workers.openai_compatible import OpenAIWorker
from orchestai_jax.workflow import Catalog, OpenAIConnection, Task, Value, WorkerSpec, Workflow


def test_a_request_that_was_under_way_at_a_kill_is_sent_again_under_its_key(tmp_path):
    kind = load_bundled_catalog("model_tasks").task_type("answer_question")
    workflow = Workflow(
        instruction="ask",
        tasks=(
            Task(
                id="t",
                task_type=kind.id,
                worker="gpt",
                arguments={"question": Value(value="Why?"), "text": Value(value="Because.")},
            ),
        ),
    )

    def copy_and_hang(request):
        if len(server.requests) == 1:
            shutil.copytree(tmp_path / "first", tmp_path / "killed")  # the journal as a kill leaves it
            arrived.set()
            server.closing.wait(20)
        else:
            answer_chat(request, "So.")

    async def scenario():
        connection = OpenAIConnection(model="m", base_url=f"{server.url}/v1", key_env=None)
        spec = WorkerSpec(id="gpt", task_types=(kind.id,), connection=connection)
        catalog = Catalog(task_types=(kind,), workers=(spec,))
        workers = {"gpt": OpenAIWorker(spec, [kind])}
        options = {"root": tmp_path, "output_folder": "out", "journal": tmp_path / "first", "run_id": "r"}
        run = asyncio.create_task(execute(workflow, catalog, workers, **options))
        async with asyncio.timeout(30):
            await asyncio.to_thread(arrived.wait, 20)
            run.cancel()
            with pytest.raises(asyncio.CancelledError):
                await run
            records = [await resume("r", workers, journal=tmp_path / folder) for folder in ("killed", "first")]
        await workers["gpt"].close()
        return records

    arrived = threading.Event()
    with serving(copy_and_hang) as server:
        records = asyncio.run(scenario())
    assert [record.status for record in records] == ["succeeded", "succeeded"]
    assert {request.headers["idempotency-key"] for request in server.requests} == {"r/t-1-0"}
    assert len(server.requests) == 3
