"""Workers made of plain functions: called in threads, of which there are never more than the limit."""

import asyncio
import pickle
import threading

import pytest

from orchestai_jax.execution import RunPolicies, execute
from orchestai_jax.workers import Output, ThreadWorker, Worker, WorkerContext, WorkerError
from orchestai_jax.workflow import Catalog, Port, Task, TaskType, WorkerLimits, WorkerSpec, Workflow

SHOUT = TaskType(id="shout", outputs=(Port(name="text", type="text"),))
SPEC = WorkerSpec(id="w", task_types=("shout",), limits=WorkerLimits(max_concurrency=1))


def greet(task_type, arguments, context):
    return Output({"text": f"hello from {threading.current_thread() is not threading.main_thread()}"})


def call(worker, tmp_path, **context):
    return asyncio.run(worker.run(SHOUT, {}, WorkerContext(tmp_path, tmp_path, "t", **context)))


def test_it_is_a_worker_that_works_in_a_thread_and_may_go_to_another_process(tmp_path):
    worker = pickle.loads(pickle.dumps(ThreadWorker(SPEC, greet)))  # noqa: S301 - our own
    assert isinstance(worker, Worker)
    assert call(worker, tmp_path).values == {"text": "hello from True"}


def test_its_text_is_told_on_the_loops_thread_and_its_errors_are_raised(tmp_path):
    told = []

    def speak(task_type, arguments, context):
        context.on_chunk("one ")
        context.on_chunk("two")
        raise WorkerError("and no more", retryable=True)

    def hear(text):
        told.append((text, threading.current_thread() is threading.main_thread()))

    with pytest.raises(WorkerError, match="and no more") as caught:
        call(ThreadWorker(SPEC, speak), tmp_path, on_chunk=hear)
    assert caught.value.retryable
    assert told == [("one ", True), ("two", True)]


def test_a_thread_that_outlives_its_calls_limit_keeps_the_next_call_waiting(tmp_path):
    release, lock, at_once, most = threading.Event(), threading.Lock(), 0, 0

    def slow_once(task_type, arguments, context):
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        if context.task_id == "slow":
            assert release.wait(20)
        with lock:
            at_once -= 1
        return Output({"text": context.task_id})

    def listen(event):
        if event.kind == "failed":
            asyncio.get_running_loop().call_later(0.05, release.set)

    async def run():
        tasks = [Task(id=name, task_type="shout", worker="w") for name in ("slow", "next")]
        policies = RunPolicies.model_validate({"tasks": {"slow": {"timeout_s": 0.05, "retry": {"attempts": 1}}}})
        return await execute(
            Workflow(tasks=tuple(tasks)),
            Catalog(task_types=(SHOUT,), workers=(SPEC,)),
            {"w": ThreadWorker(SPEC, slow_once)},
            root=tmp_path,
            output_folder="out",
            policies=policies,
            on_event=listen,
        )

    record = asyncio.run(run())
    assert [task.status for task in record.tasks] == ["failed", "succeeded"]
    assert most == 1
