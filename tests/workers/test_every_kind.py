"""What workers of every kind keep to: local tools, endpoints, MCP servers, Hugging Face models, simulated ones."""

import asyncio
import json

import pytest
from loopback_server import serving
from openai_server import answer_chat
from PIL import Image

from orchestai_jax.workers import (
    CheckedWorker,
    Output,
    WorkerContext,
    WorkerError,
    check_worker,
    close_workers,
    fault_of,
    load_bundled_catalog,
    open_workers,
)
from orchestai_jax.workflow import (
    Catalog,
    HuggingFaceConnection,
    McpConnection,
    OpenAIConnection,
    Parameter,
    Port,
    SimulatedConnection,
    TaskType,
    WorkerSpec,
)

TEXT = Port(name="text", type="text")
SHOUT = TaskType(
    id="shout",
    inputs=(Port(name="input", type="any", required=False),),
    outputs=(Port(name="result", type="text"),),
    parameters=(Parameter(name="text", type="string", required=True),),
)
KINDS = ("local", "openai", "mcp", "huggingface", "simulated")


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from tiny_models import save_tiny_models

    root = tmp_path_factory.mktemp("models")
    save_tiny_models(root, only="classify")
    return str(root / "classify")


@pytest.fixture(scope="module")
def endpoint():
    with serving(lambda request: answer_chat(request, "fine")) as server:
        yield f"{server.url}/v1"


@pytest.fixture(params=KINDS)
def kind(request, tiny_model, endpoint, mcp_url, tmp_path):
    """The name of a kind, its task type, arguments that are right, and its connection."""
    Image.new("RGB", (40, 30), "red").save(tmp_path / "small.png")
    models = load_bundled_catalog("model_tasks")
    rewrite = models.task_type("rewrite_text")
    hf = {"model": tiny_model, "task": "image-classification"} if request.param == "huggingface" else None
    return {
        "local": (
            request.param,
            load_bundled_catalog("extended_tools").task_type("html_to_text"),
            {"text": "<p>a"},
            None,
        ),
        "openai": (request.param, rewrite, {"text": "a"}, OpenAIConnection(model="m", base_url=endpoint, key_env=None)),
        "mcp": (request.param, SHOUT, {"text": "a"}, McpConnection(url=mcp_url)),
        "huggingface": (
            request.param,
            models.task_type("classify_image"),
            {"image": "small.png"},
            HuggingFaceConnection(**hf) if hf else None,
        ),
        "simulated": (request.param, rewrite, {"text": "a"}, SimulatedConnection()),
    }[request.param]


def with_worker(kind, do):
    """What `do(worker)` gives, in an event loop in which the worker is opened and closed."""
    name, task_type, _, connection = kind
    worker_id = "html_to_text_parser" if name == "local" else "w"
    spec = WorkerSpec(id=worker_id, task_types=(task_type.id,), connection=connection)
    workers = open_workers(Catalog(task_types=(task_type,), workers=(spec,)), simulate=True)

    async def whole():
        try:
            return await do(workers[worker_id])
        finally:
            await close_workers(workers.values())

    return asyncio.run(whole())


def test_outputs_are_those_of_the_task_type_and_the_account_is_right(kind, tmp_path):
    name, task_type, arguments, _ = kind
    chunks = []

    async def do(worker):
        assert isinstance(worker, CheckedWorker)
        assert fault_of(worker) is None
        context = WorkerContext(tmp_path, tmp_path / "out", "täsk 1", on_chunk=chunks.append, idempotency_key="k")
        return await worker.run(task_type, arguments, context)

    output = with_worker(kind, do)
    assert isinstance(output, Output)
    assert set(output.values) == {port.name for port in task_type.outputs}
    json.dumps(dict(output.values), allow_nan=False)
    assert output.cost >= 0
    assert (output.cost > 0) == (name in ("local", "huggingface"))
    assert isinstance(output.tokens, int)
    assert (output.tokens > 0) == (name == "openai")
    assert bool(chunks) == (name in ("openai", "huggingface"))
    written = [path for path in (tmp_path / "out").rglob("*") if path.is_file()] if (tmp_path / "out").exists() else []
    assert len(written) == (1 if name == "local" else 0)


def test_health_is_good_and_quick_to_ask(kind):
    health = with_worker(kind, check_worker)
    assert health.ok
    assert "\n" not in health.detail
    assert (health.latency_s is None) == (kind[0] in ("local", "simulated"))


def test_what_it_cannot_do_is_one_line(kind, tmp_path):
    async def do(worker):
        with pytest.raises(WorkerError) as caught:
            await worker.run(TaskType(id="fly"), {}, WorkerContext(tmp_path, tmp_path / "out", "t"))
        return str(caught.value)

    said = with_worker(kind, do)
    assert "cannot do fly" in said
    assert "\n" not in said


@pytest.mark.parametrize("wrong", [{}, {"nonsense": 1}])
def test_wrong_arguments_are_named_and_nothing_is_written(kind, tmp_path, wrong):
    _, task_type, arguments, _ = kind
    given = {} if not wrong else arguments | wrong

    async def do(worker):
        with pytest.raises(WorkerError) as caught:
            await worker.run(task_type, given, WorkerContext(tmp_path, tmp_path / "out", "t"))
        return caught.value

    error = with_worker(kind, do)
    assert ("nonsense" if wrong else "needs the") in str(error)
    assert not error.retryable, "the same arguments are wrong the next time too"
    assert not (tmp_path / "out").exists()


def test_two_tasks_at_once_do_not_mix(kind, tmp_path):
    _, task_type, arguments, _ = kind

    async def do(worker):
        contexts = [WorkerContext(tmp_path, tmp_path / "out", f"t{i}") for i in range(3)]
        return await asyncio.gather(*(worker.run(task_type, arguments, context) for context in contexts))

    outputs = with_worker(kind, do)
    assert len({json.dumps(dict(output.values)).replace(f"t{i}", "t") for i, output in enumerate(outputs)}) == 1


def test_a_cancelled_task_is_cancelled(kind, tmp_path):
    _, task_type, arguments, _ = kind

    async def do(worker):
        task = asyncio.create_task(worker.run(task_type, arguments, WorkerContext(tmp_path, tmp_path / "out", "t")))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        # and it works on
        return await worker.run(task_type, arguments, WorkerContext(tmp_path, tmp_path / "out", "t2"))

    assert with_worker(kind, do).values
