"""What does not stop holds no command up; what does is waited for."""

import asyncio
import json
import subprocess
import sys
import threading

import pytest

from orchestai_jax.cli.stopping import DaemonThreads, run_to_its_end

PLANNER = ("--planner", "planner")

DEAF = """
import asyncio, sys, threading
import orchestai_jax.workers as workers
from orchestai_jax.workers import Output

HOW = sys.argv.pop(1)

class Deaf:
    def __init__(self, spec): self.spec = spec
    async def run(self, task_type, arguments, context):
        if context.task_id == "t2":
            if HOW == "thread":
                await asyncio.to_thread(threading.Event().wait)
            while True:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    pass
        return Output(values={port.name: "x" for port in task_type.outputs})

workers.open_workers = lambda catalog: {spec.id: Deaf(spec) for spec in catalog.workers}
from orchestai_jax.cli import main
main()
"""


@pytest.mark.parametrize("how", ["thread", "coroutine"])
def test_a_command_ends_although_a_worker_never_does(command, tmp_path, how):
    (tmp_path / "plan.json").write_text(command("plan", "shorten", *PLANNER, "--json").stdout)
    (tmp_path / "p.yaml").write_text("grace_s: 0.1\n")
    options = ("run", "--workflow", "plan.json", "--timeout", "0.2", "--policies", "p.yaml", "--json")
    done = subprocess.run([sys.executable, "-c", DEAF, how, *options], capture_output=True, timeout=60, check=False)
    assert done.returncode == 1, done.stderr.decode()
    record = json.loads(done.stdout)
    assert {t["task"]: t["status"] for t in record["tasks"]} == {"t1": "succeeded", "t2": "failed", "t3": "succeeded"}
    assert b"Traceback" not in done.stderr


def test_calls_are_made_in_so_many_threads_and_results_and_errors_come_back():
    threads, names, both = DaemonThreads(2), set(), threading.Barrier(2)

    def work(number):
        both.wait(20)
        names.add(threading.current_thread().name)
        if number == 3:
            raise KeyError(number)
        return number * 2

    futures = [threads.submit(work, number) for number in range(4)]
    assert [f.result(20) for f in futures[:3]] == [0, 2, 4]
    with pytest.raises(KeyError):
        futures[3].result(20)
    assert len(names) == 2
    threads.shutdown()
    with pytest.raises(RuntimeError, match="shut down"):
        threads.submit(print)


def test_a_call_that_was_cancelled_before_its_turn_is_not_made():
    threads, go_on, made = DaemonThreads(1), threading.Event(), []
    first = threads.submit(go_on.wait, 20)
    second, third = threads.submit(made.append, 2), threads.submit(made.append, 3)
    assert second.cancel()
    go_on.set()
    third.result(20)
    assert first.result(20)
    assert made == [3]


def test_what_stops_when_it_is_told_to_is_waited_for():
    ended = []

    async def rest():
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            ended.append(True)

    async def main():
        asyncio.get_running_loop().set_default_executor(DaemonThreads(1))
        main.rest = asyncio.create_task(rest())
        return await asyncio.to_thread(lambda: 5)

    assert run_to_its_end(main(), grace_s=20) == 5
    assert ended == [True]
