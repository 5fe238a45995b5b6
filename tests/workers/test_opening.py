"""Workers opened from a catalog: every kind, what is missing, installed packages; nothing is loaded before its use."""

import asyncio
import subprocess
import sys
import types

import pytest

from orchestai_jax.config import redact
from orchestai_jax.workers import (
    Output,
    Worker,
    WorkerContext,
    WorkerError,
    WorkerOffer,
    check_worker,
    close_workers,
    fault_of,
    load_bundled_catalog,
    local_workers,
    open_workers,
)
from orchestai_jax.workers.discovery import entry_points
from orchestai_jax.workflow import (
    Catalog,
    EntryPointConnection,
    HuggingFaceConnection,
    LanguageModelConnection,
    McpConnection,
    OpenAIConnection,
    SimulatedConnection,
    WebConnection,
    WorkerSpec,
    merge_catalogs,
)

BASE = merge_catalogs(load_bundled_catalog("extended_tools"), load_bundled_catalog("model_tasks"))


def catalog(*specs: WorkerSpec) -> Catalog:
    return merge_catalogs(BASE, Catalog(task_types=BASE.task_types, workers=specs))


def gpt(**fields):
    return WorkerSpec(id="gpt", task_types=("translate_text",), connection=OpenAIConnection(model="m", **fields))


EVERY_KIND = catalog(
    gpt(key_env=None, tools=("html_to_text",)),
    WorkerSpec(
        id="vit",
        task_types=("classify_image",),
        connection=HuggingFaceConnection(model="a/b", task="image-classification"),
    ),
    WorkerSpec(id="tool", task_types=("translate_text",), connection=McpConnection(command=("python",))),
    WorkerSpec(id="tool_2", task_types=("rewrite_text",), connection=McpConnection(command=("python",), tool="x")),
    WorkerSpec(id="own", task_types=("write_text",), connection=LanguageModelConnection(model="no/folder")),
    WorkerSpec(id="pretend", task_types=("translate_text",), connection=SimulatedConnection()),
    WorkerSpec(id="theirs", task_types=("translate_text",), connection=EntryPointConnection(name="theirs")),
    WorkerSpec(id="nobody_knows", task_types=("translate_text",)),
)


def test_every_kind_of_worker_is_opened_in_the_order_of_the_catalog():
    workers = open_workers(EVERY_KIND, simulate=True)
    assert list(workers) == [w.id for w in EVERY_KIND.workers if w.id != "nobody_knows"]
    for worker_id, worker in workers.items():
        assert isinstance(worker, Worker)
        assert worker.spec == EVERY_KIND.worker(worker_id)
    assert {type(worker).__name__ for worker in workers.values()} == {
        "LocalTool", "OpenAIWorker", "HuggingFaceWorker", "LocalLanguageModel", "McpWorker", "SimulatedWorker",
        "UnavailableWorker",
    }  # fmt: skip
    assert workers["tool"].server is workers["tool_2"].server, "tools of one server share it"
    asyncio.run(close_workers(workers.values()))  # nothing was opened; it has nothing to do and says nothing


def test_opening_loads_no_library_of_a_model():
    code = (
        "import sys\n"
        "from orchestai_jax.workers import fault_of, open_workers\n"
        "from orchestai_jax.workflow import Catalog, HuggingFaceConnection, LanguageModelConnection\n"
        "from orchestai_jax.workflow import TaskType, Port, WorkerSpec\n"
        "kind = TaskType(id='t', inputs=(Port(name='i', type='image'),), outputs=(Port(name='x', type='text'),))\n"
        "hf = HuggingFaceConnection(model='a/b', task='image-classification')\n"
        "spec = WorkerSpec(id='w', task_types=('t',), connection=hf)\n"
        "texts = TaskType(id='s', inputs=(Port(name='i', type='text'),), outputs=(Port(name='x', type='text'),))\n"
        "own = WorkerSpec(id='v', task_types=('s',), connection=LanguageModelConnection(model='x'))\n"
        "workers = open_workers(Catalog(task_types=(kind, texts), workers=(spec, own)))\n"
        "print([fault_of(worker) is not None for worker in workers.values()])\n"
        "print([m for m in ('torch', 'transformers', 'jax', 'openai', 'mcp') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] in ("[False, True]", "[True, True]")
    assert done.stdout.split("\n")[1] == "[]"


@pytest.mark.parametrize("extra, worker_id, module", [
    ("openai", "gpt", "openai_compatible"), ("mcp", "tool", "mcp_servers"),
])  # fmt: skip
def test_a_worker_without_its_library_is_there_and_says_what_to_install(monkeypatch, extra, worker_id, module):
    for name in [n for n in sys.modules if n.startswith(f"orchestai_jax.workers.{module}")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, extra, None)
    worker = open_workers(EVERY_KIND)[worker_id]
    said = f"worker {worker_id} needs the library '{extra}'; install it with pip install \"orchestai-jax[{extra}]\""
    assert fault_of(worker) == said
    health = asyncio.run(check_worker(worker))
    assert (health.ok, health.detail) == (False, said)
    with pytest.raises(WorkerError, match="install it with"):
        asyncio.run(worker.run(BASE.task_type("translate_text"), {}, WorkerContext(None, None, "t")))  # pyright: ignore


def test_faults_are_told_before_a_run(monkeypatch, tmp_path):
    monkeypatch.delenv("THE_KEY", raising=False)
    faults = {
        "the environment variable THE_KEY is not set": gpt(key_env="THE_KEY"),
        "there is no folder": WorkerSpec(
            id="gpt",
            task_types=("classify_image",),
            connection=HuggingFaceConnection(model=str(tmp_path / "none"), task="image-classification"),
        ),
    }
    for said, spec in faults.items():
        fault = fault_of(open_workers(catalog(spec))["gpt"])
        assert fault is not None
        assert said in fault
    monkeypatch.setenv("THE_KEY", "abcdefg")
    assert fault_of(open_workers(catalog(gpt(key_env="THE_KEY")))["gpt"]) is None
    assert fault_of(local_workers()["checksum_file_hashlib"]) is None
    fetch = open_workers(BASE)["fetch_url_http"]
    assert "may fetch nothing: list hosts" in str(fault_of(fetch))
    assert not asyncio.run(check_worker(fetch)).ok
    listed = fetch.spec.model_copy(update={"connection": WebConnection(allow=("example.org",))})
    assert fault_of(open_workers(BASE.model_copy(update={"workers": (listed,)}))["fetch_url_http"]) is None


@pytest.mark.parametrize(
    "spec, said",
    [
        (gpt(tools=("nothing",)), "its tool 'nothing' is no task type"),
        (gpt(tools=("speak_text",)), "no worker of catalog 'extended_tools' can do its tool 'speak_text'"),
        (
            WorkerSpec(id="gpt", task_types=("detect_objects",), connection=OpenAIConnection(model="m")),
            "detect_objects takes a picture",
        ),
        (
            WorkerSpec(
                id="vit",
                task_types=("transcribe_audio",),
                connection=HuggingFaceConnection(model="a/b", task="image-classification"),
            ),
            "transcribe_audio takes audio; a pipeline image-classification takes one image",
        ),
        (
            WorkerSpec(
                id="vit",
                task_types=("caption_image",),
                connection=HuggingFaceConnection(model="a/b", task="object-detection"),
            ),
            "caption_image gives text of the type text; object-detection gives json",
        ),
    ],
)
def test_what_can_never_work_is_refused_when_it_is_opened(spec, said):
    with pytest.raises(ValueError) as caught:
        open_workers(catalog(spec))
    assert said in str(caught.value)
    assert f"worker {spec.id!r}" in str(caught.value)


class Theirs:
    spec = WorkerSpec(id="theirs", task_types=("translate_text",))

    async def run(self, task_type, arguments, context):
        return Output({"text": f"{arguments['text']} in {arguments['language']}"})


@pytest.fixture
def install(monkeypatch):
    """Makes entry points as installed packages declare them: `install(name=function)`."""

    def install(**functions):
        module = types.ModuleType("their_package")
        points = []
        for name, function in functions.items():
            setattr(module, name, function)
            value = f"their_package:{name}"
            points.append(entry_points.importlib.metadata.EntryPoint(name, value, entry_points.GROUP))
        monkeypatch.setitem(sys.modules, "their_package", module)
        every = entry_points.importlib.metadata.EntryPoints(points)
        monkeypatch.setattr(entry_points.importlib.metadata, "entry_points", every.select)

    return install


class Broken(Theirs):
    """Foreign code whose every optional member raises, with a secret in what it says."""

    spec = WorkerSpec(id="broken", task_types=("translate_text",))

    def fault(self):
        raise KeyError("abcdef-123456")

    async def check(self):
        raise KeyError("abcdef-123456")

    async def close(self):
        raise RuntimeError("abcdef-123456")


def test_foreign_code_that_breaks_is_a_finding_about_itself_alone(monkeypatch, caplog):
    monkeypatch.setenv("SOME_TOKEN", "abcdef-123456")
    health = asyncio.run(check_worker(Broken()))
    assert not health.ok
    assert health.detail == "its check failed with KeyError: '***'"
    assert fault_of(Broken()) == "worker broken: its own fault() failed with KeyError: '***'"
    closed = []

    class Closes(Theirs):
        async def close(self):
            closed.append(self)

    asyncio.run(close_workers([Closes(), Broken(), Closes()]))
    assert len(closed) == 2, "those after it are closed too"
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert "worker broken was not closed: RuntimeError: ***" in record.getMessage()


def test_what_a_package_offers_is_asked_for_once(install):
    asked = []

    class Second(Theirs):
        spec = WorkerSpec(id="theirs_2", task_types=("translate_text",))

    def offer():
        asked.append(1)
        return WorkerOffer((), (Theirs(), Second()))

    install(theirs=offer)
    connection = EntryPointConnection(name="theirs")
    specs = [WorkerSpec(id=i, task_types=("translate_text",), connection=connection) for i in ("theirs", "theirs_2")]
    assert set(open_workers(catalog(*specs))) >= {"theirs", "theirs_2"}
    assert len(asked) == 1


def test_workers_of_installed_packages_are_opened(install, tmp_path):
    install(theirs=lambda: WorkerOffer((), (Theirs(),)))
    worker = open_workers(EVERY_KIND)["theirs"]
    arguments = {"text": "hello", "language": "French"}
    context = WorkerContext(tmp_path, tmp_path, "t")
    output = asyncio.run(worker.run(BASE.task_type("translate_text"), arguments, context))
    assert output.values == {"text": "hello in French"}
    assert asyncio.run(check_worker(worker)).detail == "has no check of its own"


def test_packages_that_bring_no_workers_are_named(install):
    def breaks():
        raise RuntimeError("two\nlines")

    for function, said in (
        (breaks, "cannot be loaded: RuntimeError: two lines"),
        (lambda: [Theirs()], "gives a list, not a WorkerOffer"),
        (lambda: WorkerOffer((), (object(),)), "object is no worker; it needs `spec` and `run`"),
        (lambda: WorkerOffer((), ()), "gives no worker 'theirs'; it gives none"),
    ):
        install(theirs=function)
        fault = fault_of(open_workers(EVERY_KIND)["theirs"])
        assert fault is not None
        assert said in fault
    install(other=breaks)
    assert "no installed package has the entry point 'theirs'" in str(fault_of(open_workers(EVERY_KIND)["theirs"]))
    assert "installed: other" in str(fault_of(open_workers(EVERY_KIND)["theirs"]))


def test_keys_of_opened_workers_are_masked_whatever_their_variables_are_called(monkeypatch):
    monkeypatch.setenv("LLM_AUTH_OF_TEST", "hunter2hunter2")
    monkeypatch.setenv("DATABASE_OF_TEST", "postgres://me:pw@host")
    monkeypatch.setenv("BEARER_OF_TEST", "abcdef-123456")
    text = "hunter2hunter2 postgres://me:pw@host abcdef-123456"
    assert redact(text) == text
    server = McpConnection(command=("python",), env=("DATABASE_OF_TEST",))
    remote = McpConnection(url="https://example.org/mcp", key_env="BEARER_OF_TEST")
    open_workers(
        catalog(
            gpt(key_env="LLM_AUTH_OF_TEST"),
            WorkerSpec(id="tool", task_types=("translate_text",), connection=server),
            WorkerSpec(id="remote", task_types=("translate_text",), connection=remote),
        )
    )
    assert redact(text) == "*** *** ***"
