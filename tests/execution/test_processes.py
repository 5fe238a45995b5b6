"""Workers in processes of their own: real processes, killed and replaced."""

import asyncio
import importlib.util
import multiprocessing
import os
import pathlib
import sys
import types

import pytest

from orchestai_jax.execution import ProcessPool, ProcessWorker
from orchestai_jax.workers import WorkerError, local_workers
from orchestai_jax.workflow import WorkerSpec


@pytest.fixture(scope="module")
def busy_worker():
    """The worker of process_workers.py, importable by that name here and in the processes."""
    folder = str(pathlib.Path(__file__).parent)
    sys.path.insert(0, folder)  # spawned processes get the parent's path
    spec = importlib.util.find_spec("process_workers")
    assert spec is not None
    import process_workers

    yield process_workers.Busy(WorkerSpec(id="w", task_types=("step",)))
    sys.path.remove(folder)


@pytest.fixture(scope="module")
def pool():
    with ProcessPool(2) as pool:
        yield pool


def ask(make, perform, pool, worker, *labels, **options):
    tasks = [make.step(f"t{i}", label=label) for i, label in enumerate(labels)]
    wrapped = ProcessWorker(worker, pool)
    catalog = make.catalog(types.SimpleNamespace(spec=worker.spec))
    return perform(make.plan(*tasks), wrapped, catalog=catalog, **options)


def test_calls_are_made_elsewhere_failures_come_back_and_hung_processes_are_killed(make, perform, pool, busy_worker):
    once = {"default": {"retry": {"attempts": 1}, "timeout_s": 20.0}, "tasks": {"t4": {"timeout_s": 0.2}}}
    labels = ("fine", "busy", "crash", "die", "hang", "unsendable", "fine", "fine")
    record = ask(make, perform, pool, busy_worker, *labels, policies=once, on_event=lambda event: None)
    fine, busy, crash, die, hang, unsendable, *rest = record.tasks
    assert fine.status == "succeeded"
    assert fine.outputs["value"] != os.getpid()
    assert (fine.cost, fine.tokens) == (0.5, 3)
    assert busy.error == "busy"
    assert crash.error == "w failed with KeyError: 'x'"
    assert die.error == "the process of worker w died"
    assert hang.error == "worker w took longer than its limit of 0.2 s"
    assert "cannot be sent to another process" in unsendable.error
    assert [run.status for run in rest] == ["succeeded", "succeeded"]  # dead and killed processes are replaced
    assert set(multiprocessing.active_children()) == {process._process for process in pool._idle}  # and none is left


def test_retry_after_survives_the_way(pool, busy_worker, tmp_path):
    from orchestai_jax.workers import WorkerContext
    from orchestai_jax.workflow import TaskType

    async def call():
        context = WorkerContext(tmp_path, tmp_path, "t")
        await ProcessWorker(busy_worker, pool).run(TaskType(id="step"), {"label": "busy"}, context)

    with pytest.raises(WorkerError) as caught:
        asyncio.run(call())
    assert (caught.value.retryable, caught.value.retry_after_s) == (True, 3.0)


def test_a_local_tool_works_in_a_process(pool, tmp_path):
    from orchestai_jax.quickstart import load_embedded_catalog
    from orchestai_jax.workers import WorkerContext

    catalog = load_embedded_catalog()
    worker = ProcessWorker(local_workers(catalog)["text_statistics_counter"], pool)
    task_type = catalog.task_type("text_statistics")

    async def call():
        return await worker.run(task_type, {"text": "one two three"}, WorkerContext(tmp_path, tmp_path, "t"))

    output = asyncio.run(call())
    assert output.values["statistics"]["words"] == 3
    assert worker.spec.id == "text_statistics_counter"


def test_a_pool_has_a_size_and_an_end(busy_worker, make, perform):
    with pytest.raises(ValueError, match="size is 0"):
        ProcessPool(0)
    assert ProcessPool().size >= 1
    pool = ProcessPool(1)
    pool.close()
    record = ask(make, perform, pool, busy_worker, "fine")
    assert record.tasks[0].error == "the process pool is closed"


def test_a_pool_that_is_closed_lets_nobody_wait(busy_worker, tmp_path):
    from orchestai_jax.workers import WorkerContext
    from orchestai_jax.workflow import TaskType

    async def scenario():
        pool = ProcessPool(1)
        worker, context = ProcessWorker(busy_worker, pool), WorkerContext(tmp_path, tmp_path, "t")
        calls = [asyncio.ensure_future(worker.run(TaskType(id="step"), {"label": "hang"}, context)) for _ in range(3)]
        async with asyncio.timeout(30):
            while not any(process._ready for process in pool._busy):
                await asyncio.sleep(0.01)
            pool.close()
            return await asyncio.gather(*calls, return_exceptions=True)

    errors = asyncio.run(scenario())
    assert [str(e) for e in errors] == ["the process of worker w died", *["the process pool is closed"] * 2]
    assert all(isinstance(e, WorkerError) for e in errors)
