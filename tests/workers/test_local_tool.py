"""The frame around the tool functions: threads, cancellation, costs, errors, texts and their files."""

import asyncio
import concurrent.futures
import subprocess
import sys
import threading
import time

import pytest

from orchestai_jax.workers import PRICE_PER_CORE_SECOND, LocalTool, WorkerContext, WorkerError
from orchestai_jax.workers import local_tool as module
from orchestai_jax.workflow.catalog import Port, TaskType, WorkerLimits, WorkerSpec

TASK_TYPE = TaskType(id="do", inputs=(Port(name="text", type="text"),), outputs=(Port(name="text", type="text"),))


def tool(monkeypatch, function, **fields):
    monkeypatch.setattr(LocalTool, "load", lambda self: function)
    return LocalTool(WorkerSpec(id="w", task_types=("do",)), "none", "none", **fields)


def run(worker, root, text="hello", task_type=TASK_TYPE):
    return asyncio.run(worker.run(task_type, {"text": text}, WorkerContext(root, root / "out", "t1")))


def test_the_event_loop_is_free_while_a_tool_works(monkeypatch, tmp_path):
    release = threading.Event()
    worker = tool(monkeypatch, lambda call: {"text": str(release.wait(20))})

    async def both():
        task = asyncio.create_task(worker.run(TASK_TYPE, {"text": "x"}, WorkerContext(tmp_path, tmp_path, "t")))
        while not task.done():
            await asyncio.sleep(0)
            release.set()  # only reached when the tool does not block the loop
        return await task

    assert asyncio.run(both()).values == {"text": "True"}


@pytest.mark.parametrize("before", ["its thread had begun", "it waited for a thread"])
def test_the_thread_of_a_call_that_was_given_up_counts_until_it_ends(monkeypatch, tmp_path, before):
    release, lock, working, most = threading.Event(), threading.Lock(), set(), []

    def function(call):
        with lock:
            working.add(call.context.task_id)
            most.append(len(working))
        if call.context.task_id in ("a", "b"):
            release.wait(20)
        with lock:
            working.discard(call.context.task_id)
        return {"text": call.context.task_id}

    monkeypatch.setattr(LocalTool, "load", lambda self: function)
    limits = WorkerLimits(max_concurrency=2)
    worker = LocalTool(WorkerSpec(id="w", task_types=("do",), limits=limits), "none", "none")

    async def whole():
        def start(name):
            return asyncio.create_task(worker.run(TASK_TYPE, {"text": "x"}, WorkerContext(tmp_path, tmp_path, name)))

        if before == "it waited for a thread":  # the loop's pool is busy: the calls wait in its queue
            asyncio.get_running_loop().set_default_executor(concurrent.futures.ThreadPoolExecutor(1))
            blocker = asyncio.create_task(asyncio.to_thread(release.wait, 20))
            await asyncio.sleep(0)
        given_up = [start("a"), start("b")]
        while len(working) < 2 and before != "it waited for a thread":
            await asyncio.sleep(0.001)
        for _ in range(5):
            await asyncio.sleep(0)
        for task in given_up:
            task.cancel()
        await asyncio.gather(*given_up, return_exceptions=True)
        later = [start("c"), start("d"), start("e")]
        for _ in range(50):
            await asyncio.sleep(0.001)
        assert not any(task.done() for task in later)
        release.set()
        outputs = await asyncio.wait_for(asyncio.gather(*later), 20)
        if before == "it waited for a thread":
            await blocker
        return [output.values["text"] for output in outputs]

    assert asyncio.run(whole()) == ["c", "d", "e"]
    assert max(most) <= 2, "never more threads than the limit"


def test_a_cancelled_tool_leaves_no_output(monkeypatch, tmp_path):
    started, release, ended = threading.Event(), threading.Event(), threading.Event()
    errors = []

    def function(call):
        started.set()
        release.wait(20)
        try:
            return {"text": call.write_text(".txt", "too late")}
        except WorkerError as error:
            errors.append(str(error))
            raise
        finally:
            ended.set()

    worker = tool(monkeypatch, function)

    async def cancel():
        task = asyncio.create_task(worker.run(TASK_TYPE, {"text": "x"}, WorkerContext(tmp_path, tmp_path / "o", "t")))
        while not started.is_set():
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        release.set()
        while not ended.is_set():
            await asyncio.sleep(0.001)

    asyncio.run(cancel())
    assert "cancelled" in errors[0]
    assert list((tmp_path / "o").iterdir()) == []


def test_the_cost_is_the_cpu_time_of_the_call(monkeypatch, tmp_path):
    def busy(call):
        end = time.thread_time() + 0.05
        while time.thread_time() < end:
            pass
        return {"text": "done"}

    def idle(call):
        time.sleep(0.05)
        return {"text": "done"}

    assert run(tool(monkeypatch, busy), tmp_path).cost >= 0.05 * PRICE_PER_CORE_SECOND
    assert run(tool(monkeypatch, idle), tmp_path).cost < 0.04 * PRICE_PER_CORE_SECOND
    # a reserved pool costs while it waits
    monkeypatch.setattr(module, "_pool_size", lambda: 3)
    assert run(tool(monkeypatch, idle, reserves_pool=True), tmp_path).cost >= 3 * 0.05 * PRICE_PER_CORE_SECOND


def test_an_unforeseen_error_becomes_one_line_that_keeps_its_cause(monkeypatch, tmp_path):
    def broken(call):
        raise KeyError("two\nlines")

    with pytest.raises(WorkerError, match="w failed with KeyError") as caught:
        run(tool(monkeypatch, broken), tmp_path)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_missing_library_is_named_with_the_remedy(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.delitem(sys.modules, "orchestai_jax.workers.image_tools", raising=False)
    monkeypatch.delitem(sys.modules, "orchestai_jax.workers.image_files", raising=False)
    worker = LocalTool(WorkerSpec(id="crop", task_types=("do",)), "image_tools", "crop_image_pillow")
    with pytest.raises(WorkerError, match=r"crop needs the library 'PIL.*pip install \"orchestai-jax\[tools\]\""):
        run(worker, tmp_path)


def test_a_task_type_of_another_worker_is_refused(monkeypatch, tmp_path):
    with pytest.raises(WorkerError, match="worker w cannot do other; it does do"):
        run(tool(monkeypatch, lambda call: {}), tmp_path, task_type=TaskType(id="other"))


@pytest.mark.parametrize(
    "text", ["and/or", "What is this: a test?", "https://example.org/a.b", "two\nlines.txt", "x" * 2000]
)
def test_a_text_that_is_no_file_name_is_the_text_itself(monkeypatch, tmp_path, text):
    worker = tool(monkeypatch, lambda call: {"text": call.text("text")})
    assert run(worker, tmp_path, text).values["text"] == text


def test_a_text_that_names_a_file_is_its_content(monkeypatch, tmp_path):
    worker = tool(monkeypatch, lambda call: {"text": call.text("text")})
    (tmp_path / "plain").write_text("one")
    (tmp_path / "mit Umläuten.txt").write_bytes("\ufeffzwei\r\n".encode())
    (tmp_path / "wide.txt").write_bytes("drei".encode("utf-16"))
    assert run(worker, tmp_path, "plain").values["text"] == "one"
    assert run(worker, tmp_path, "mit Umläuten.txt").values["text"] == "zwei\n"
    assert run(worker, tmp_path, "wide.txt").values["text"] == "drei"


@pytest.mark.parametrize(
    "text, message",
    [
        ("notes.txt", "file not found: 'notes.txt'"),
        ("nots.md", "did you mean 'notes.md'"),
        ("latin.txt", "not UTF-8 text"),
        ("folder.txt", "is a folder"),
        ("   ", "text is empty"),
        (None, "needs the input 'text'"),
        (["a"], "must be a text or the path of a text file, not list"),
        ("/etc/passwd", "leads out of the root folder"),
    ],
)
def test_texts_that_cannot_be_read(monkeypatch, tmp_path, text, message):
    worker = tool(monkeypatch, lambda call: {"text": call.text("text")})
    (tmp_path / "notes.md").write_text("x")
    (tmp_path / "latin.txt").write_bytes("gr\xfc\xdfe".encode("latin-1"))
    (tmp_path / "folder.txt").mkdir()
    with pytest.raises(WorkerError, match=message):
        run(worker, tmp_path, text)


def test_importing_the_workers_loads_no_tool_library():
    code = (
        "import sys, orchestai_jax.workers, orchestai_jax.quickstart as q; "
        "orchestai_jax.workers.local_workers(q.load_embedded_catalog()); "
        "print([m for m in ('jax', 'PIL', 'polars', 'scipy', 'soundfile', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
