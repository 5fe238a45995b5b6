"""Faults on purpose: workers that fail, stall and lie, and processes that are killed at any moment.

Part one: 10,000 tasks of which, call by call, 30 % fail, 5 % stall past their time limit and 5 % give malformed
outputs. Of the calls that stall a third stop when they are told to, a third give their answer then, too late, and a
third do not stop at all. Every result is compared with what its inputs make it, every task's events and attempts are
counted.

Part two: real processes run a workflow and are killed with SIGKILL at a random moment, 200 times; each time another
process resumes the run from its journal. Executions are counted by a file that the workers append to: what was
finished at a kill must not be executed after it, and in the end nothing may be missing. Every fifth run is also killed
between its record and the removal of its journal: its resumption must execute nothing and remove the journal.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import logging
import multiprocessing
import os
import pathlib
import random
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any

from _engine_workloads import catalog, parser, random_parents, spec, steps, write_result
from _script import run_script

from orchestai_jax.execution import (
    Event,
    FileJournal,
    RunPolicies,
    execute,
    journalled_runs,
    read_journal,
    resume,
)
from orchestai_jax.workers import Output, WorkerContext, WorkerError
from orchestai_jax.workflow import RunRecord, TaskType, WorkerSpec, read_records

SCRIPT = "engine_faults.py"
FAIL, STALL, MALFORMED = 0.30, 0.05, 0.05
SHARES = {"fail": FAIL, "stall": STALL, "malformed": MALFORMED}


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    options = parser(__doc__, SCRIPT, "1,000 tasks and 10 kills: checks the script").parse_args(arguments)
    logging.getLogger("orchestai_jax.execution").setLevel(logging.ERROR)  # hundreds of calls are left behind on purpose
    tasks, kills = (1_000, 10) if options.quick else (10_000, 200)
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        result = {
            "what": "results lost or doubled under injected faults and SIGKILL; all of them must be 0",
            "faults": asyncio.run(asyncio.wait_for(inject(tasks, options.seed, root), 600)),
            "kills": kill_and_resume(kills, options.seed, root / "killed"),
        }
    print(result)
    write_result(SCRIPT, arguments, options, result)
    return result


@dataclasses.dataclass
class Faulty:
    """Adds one to its input; fails, stalls and lies as often as told, by a draw that call and seed decide."""

    spec: WorkerSpec
    seed: int
    made: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)

    @property
    def calls(self) -> int:
        """How often it was called."""
        return sum(self.made[name] for name in ("good", *SHARES))

    async def run(self, task_type: TaskType, arguments: Mapping[str, Any], context: WorkerContext) -> Output:
        """Do what the draw says."""
        draw = random.Random(f"{self.seed}/{context.task_id}/{context.attempt}").random()
        await asyncio.sleep(0)
        if draw < FAIL:
            self.made["fail"] += 1
            raise WorkerError("as told", retryable=draw < FAIL / 2)
        if draw < FAIL + STALL:
            self.made["stall"] += 1
            return await self._stall(int(draw * 1e6) % 3)
        if draw < FAIL + STALL + MALFORMED:
            self.made["malformed"] += 1
            return Output({"value": "not a number"} if draw * 1000 % 2 < 1 else {})
        self.made["good"] += 1
        return Output({"value": arguments.get("first", 0) + 1}, cost=0.001, tokens=1)

    async def _stall(self, kind: int) -> Output:
        """Wait for ever: 0 stops when it is told to, 1 answers then, 2 goes on waiting."""
        self.made[f"stall_{('obedient', 'late', 'deaf')[kind]}"] += 1
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if kind == 0:
                raise
        if kind == 2:
            await asyncio.Event().wait()  # until the loop's end tells it a second time
        return Output({"value": -1})


def in_blocks(count: int, seed: int, size: int = 20) -> list[tuple[int, ...]]:
    """One workflow of many small DAGs, so that a failure skips some tasks and not nearly all."""
    parents: list[tuple[int, ...]] = []
    for start in range(0, count, size):
        block = random_parents(min(size, count - start), seed * 1_000_003 + start, reach=10)
        parents += [tuple(start + p for p in before) for before in block]
    return parents


async def inject(count: int, seed: int, root: pathlib.Path) -> dict[str, Any]:
    parents = in_blocks(count, seed)
    workflow, events = steps(parents), collections.Counter[tuple[str, str]]()
    worker, second = Faulty(spec("worker"), seed), Faulty(spec("second"), seed + 1)
    policies = RunPolicies.model_validate(
        {
            "default": {
                "timeout_s": 0.25,
                "retry": {
                    "attempts": 2,
                    "errors": ["transient", "timeout", "malformed"],
                    "first_delay_s": 0.001,
                    "jitter_s": 0.001,
                },
            },
            "fallback_workers": 1,
            "grace_s": 0.02,
        }
    )

    def listen(event: Event) -> None:
        if event.task is not None:
            events[event.task.id, event.kind] += 1

    began = time.perf_counter()
    record = await execute(
        workflow,
        catalog(spec("worker"), spec("second")),
        {"worker": worker, "second": second},
        root=root,
        output_folder="out",
        max_concurrency=256,
        policies=policies,
        on_event=listen,
        journal=root / "journals",
        records=root / "records.jsonl",
        run_id="faults",
    )
    took = time.perf_counter() - began
    stalls = ("obedient", "late", "deaf")
    return {
        "tasks": count,
        "shares": SHARES,
        "seconds": round(took, 2),
        "injected": {name: worker.made[name] + second.made[name] for name in SHARES},
        "stalls": {name: worker.made[f"stall_{name}"] + second.made[f"stall_{name}"] for name in stalls},
        "calls": worker.calls + second.calls,
        "statuses": dict(collections.Counter(run.status for run in record.tasks)),
        **check(parents, record, events, worker, second, root),
    }


def check(
    parents: Sequence[Sequence[int]],
    record: RunRecord,
    events: Mapping[tuple[str, str], int],
    worker: Faulty,
    second: Faulty,
    root: pathlib.Path,
) -> dict[str, int]:
    """How much is wrong with a run, by kind; what is right is worked out from the parents alone."""
    runs = {run.task: run for run in record.tasks}
    wrong: collections.Counter[str] = collections.Counter(
        dict.fromkeys(("lost", "doubled", "wrong_values", "wrong_skips", "incomplete_records"), 0)
    )
    wrong["lost"] += len(parents) - len(runs)
    wrong["doubled"] += len(record.tasks) - len(runs)
    values: dict[int, int] = {}
    for i, before in enumerate(parents):
        name = f"t{i}"
        run = runs[name]
        ends = {kind: events.get((name, kind), 0) for kind in ("finished", "failed", "skipped", "cancelled")}
        wrong["lost"] += sum(ends.values()) == 0
        wrong["doubled"] += sum(ends.values()) > 1 or events.get((name, "started"), 0) > 1
        wrong["wrong_skips"] += (run.status == "skipped") != any(runs[f"t{p}"].status != "succeeded" for p in before)
        if run.status == "succeeded":
            values[i] = (values[before[0]] if before else 0) + 1
            wrong["wrong_values"] += run.outputs != {"value": values[i]}
        calls = run.calls
        complete = run.worker is not None and (run.status == "skipped") == (not calls)
        complete = complete and (run.error is None) == (run.status == "succeeded")
        complete = complete and all(call.error for call in calls[:-1])
        complete = complete and (not calls or (calls[-1].error is None) == (run.status == "succeeded"))
        wrong["incomplete_records"] += not complete
    wrong["doubled"] += abs(worker.calls + second.calls - sum(len(run.calls) for run in record.tasks))
    stored, problems = read_records(root / "records.jsonl")
    wrong["incomplete_records"] += stored != [record] or bool(problems)
    return dict(wrong)


@dataclasses.dataclass(frozen=True)
class Counted:
    """Waits a little, writes its task's name to a file, and gives its input plus one."""

    spec: WorkerSpec
    log: pathlib.Path

    async def run(self, task_type: TaskType, arguments: Mapping[str, Any], context: WorkerContext) -> Output:
        """Wait, write, add one."""
        await asyncio.sleep(random.uniform(0.0, 0.008))
        with self.log.open("ab", buffering=0) as file:
            file.write(f"{context.task_id} {context.idempotency_key}\n".encode())
        return Output({"value": arguments.get("first", 0) + 1})


def die_with_the_journal(self: FileJournal) -> None:
    """Stands for the journal's removal: the record is written by then."""
    os.kill(os.getpid(), signal.SIGKILL)


def one_life(folder: pathlib.Path, run_id: str, parents: Sequence[tuple[int, ...]], dies_at_the_end: bool) -> None:
    """What a process does that will be killed: begin the run, or go on with it."""
    os.setsid()
    if dies_at_the_end:
        FileJournal.remove = die_with_the_journal
    workers = {"worker": Counted(spec(), folder / "executions")}
    if run_id in journalled_runs(folder / "journals"):
        asyncio.run(resume(run_id, workers, journal=folder / "journals", records=folder / "records.jsonl"))
        return
    asyncio.run(
        execute(
            steps(parents),
            catalog(),
            workers,
            root=folder,
            output_folder="out",
            max_concurrency=4,
            journal=folder / "journals",
            records=folder / "records.jsonl",
            run_id=run_id,
        )
    )


def kill_and_resume(kills: int, seed: int, root: pathlib.Path) -> dict[str, Any]:
    draw, figures = random.Random(seed), collections.Counter[str]()
    context = multiprocessing.get_context("fork")  # the imports are done: a life begins in milliseconds
    number = 0
    while figures["kills"] < kills:
        number += 1
        folder = root / f"run{number}"
        folder.mkdir(parents=True)
        run_id, size = f"run{number}", 60
        parents = random_parents(size, draw.randrange(2**31), reach=10)
        finished: set[str] = set()
        dies_at_the_end = number % 5 == 1
        while True:
            executed_before = executions(folder)
            process = context.Process(target=one_life, args=(folder, run_id, parents, dies_at_the_end))
            process.start()
            if figures["kills"] < kills:
                process.join(draw.uniform(0.002, 0.12))
            else:
                process.join(60)
            killed = process.is_alive()
            if killed:
                assert process.pid is not None
                os.kill(process.pid, signal.SIGKILL)
                process.join()
                figures["kills"] += 1
            again = executions(folder) - executed_before
            figures["finished_run_twice"] += sum(again[task] for task in finished)
            records = read_records(folder / "records.jsonl")[0] if (folder / "records.jsonl").exists() else []
            over = bool(records) and records[-1].status == "succeeded"
            if over and run_id not in journalled_runs(folder / "journals"):
                break
            if over:
                figures["killed_after_the_record"] += 1
                dies_at_the_end = False
            elif not killed and process.exitcode:
                figures["processes_that_broke"] += 1
                break
            finished = finished_tasks(folder, run_id)
            figures["killed_before_the_first_line"] += not journalled_runs(folder / "journals")
        figures["runs"] += 1
        figures["resumptions"] += records[-1].resumed if records else 0
        check_run_of_kills(records, parents, executions(folder), figures)
    names = ("kills", "runs", "resumptions", "killed_before_the_first_line", "killed_after_the_record")
    names += ("executions", "executed_again_unfinished")
    names += ("tasks_lost", "wrong_values", "finished_run_twice", "processes_that_broke")
    return {name: figures[name] for name in names}


def check_run_of_kills(
    records: list[RunRecord],
    parents: Sequence[tuple[int, ...]],
    executed: collections.Counter[str],
    figures: collections.Counter[str],
) -> None:
    runs = {run.task: run for run in records[-1].tasks} if records else {}
    values: dict[int, int] = {}
    for i, before in enumerate(parents):
        values[i] = (values[before[0]] if before else 0) + 1
        run = runs.get(f"t{i}")
        figures["tasks_lost"] += run is None or run.status != "succeeded" or not executed[f"t{i}"]
        figures["wrong_values"] += run is not None and run.outputs != {"value": values[i]}
    figures["executions"] += executed.total()
    figures["executed_again_unfinished"] += executed.total() - len(executed)


def executions(folder: pathlib.Path) -> collections.Counter[str]:
    """How often each task was executed."""
    path = folder / "executions"
    lines = path.read_text().splitlines() if path.exists() else []
    return collections.Counter(line.split()[0] for line in lines)


def finished_tasks(folder: pathlib.Path, run_id: str) -> set[str]:
    """The tasks whose outputs are in the journal, which has its name only with its first line in it."""
    if run_id not in journalled_runs(folder / "journals"):
        return set()
    return set(read_journal(folder / "journals", run_id).finished)


if __name__ == "__main__":
    sys.exit(run_script(main))
