"""How near the engine comes to the shortest possible time: random DAGs of sleeping workers, fan-outs, real tools.

Without limits the shortest time is the critical path; with limits no schedule is shorter than the longer of the
critical path and the work divided by the limit. Several DAGs run beside one another, each with its own limits.
"""

from __future__ import annotations

import asyncio
import functools
import pathlib
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

from _engine_workloads import Sleeper, catalog, parser, random_parents, spec, steps, write_result
from _script import run_script

from orchestai_jax.execution import ProcessPool, ProcessWorker, execute
from orchestai_jax.quickstart import load_embedded_catalog
from orchestai_jax.workers import Worker, local_workers
from orchestai_jax.workflow import Task, Value, Workflow, critical_path

SCRIPT = "engine_makespan.py"
BESIDE = 10
"""DAGs that run at the same time: they sleep most of it."""


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    options = parser(__doc__, SCRIPT, "a few DAGs: checks the script").parse_args(arguments)
    count = 20 if options.quick else 1000
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        result: dict[str, Any] = {
            "what": "makespan over its lower bound",
            "goals": {
                "without_limits_at_most": 1.02,
                "with_limits_mean_at_most": 1.10,
                "fan_out_speedup_at_least": 3.5,
            },
            "without_limits": asyncio.run(random_dags(count, options.seed, None, root)),
            "with_limits": asyncio.run(random_dags(count, options.seed, 4, root)),
            "fan_out_8": asyncio.run(fan_outs(5 if options.quick else 40, options.seed, root)),
            "cpu_bound_tools": cpu_bound(root, 2_000 if options.quick else 12_000),
        }
    for name in ("without_limits", "with_limits", "fan_out_8", "cpu_bound_tools"):
        print(name, result[name])
    write_result(SCRIPT, arguments, options, result)
    return result


async def random_dags(count: int, seed: int, limit: int | None, root: pathlib.Path) -> dict[str, Any]:
    """Ratios of the makespan to the lower bound over random DAGs of 5 to 40 tasks of 20 to 200 ms."""
    places = asyncio.Semaphore(BESIDE)

    async def one(number: int) -> tuple[float, float]:
        draw = random.Random(seed * 1_000_003 + number)
        size = draw.randint(5, 40)
        seconds = [draw.uniform(0.02, 0.2) for _ in range(size)]
        workflow = steps(random_parents(size, draw.randrange(2**31), reach=12, most=3), seconds)
        longest = critical_path(workflow, {f"t{i}": s for i, s in enumerate(seconds)})[1]
        bound = longest if limit is None else max(longest, sum(seconds) / limit)
        async with places:
            return (await makespan(workflow, limit or size, root)) / bound, bound

    pairs = await asyncio.gather(*(one(number) for number in range(count)))
    ratios = [ratio for ratio, _ in pairs]
    return {
        "dags": count,
        "limit": limit,
        "mean": round(statistics.mean(ratios), 4),
        "median": round(statistics.median(ratios), 4),
        "p95": round(statistics.quantiles(ratios, n=20)[-1], 4),
        "max": round(max(ratios), 4),
        "share_within_2_percent": round(sum(r <= 1.02 for r in ratios) / count, 4),
        "mean_bound_s": round(statistics.mean(bound for _, bound in pairs), 3),
    }


async def fan_outs(count: int, seed: int, root: pathlib.Path) -> dict[str, Any]:
    """A short source, eight branches of 50 to 150 ms, a short join: in parallel and one after the other, measured."""
    draw, speedups = random.Random(seed), []
    parents = [(), *(((0,),) * 8), tuple(range(1, 9))]
    for _ in range(count):
        workflow = steps(parents, [0.02, *(draw.uniform(0.05, 0.15) for _ in range(8)), 0.02])
        parallel, sequential = await makespan(workflow, 8, root), await makespan(workflow, 1, root)
        speedups.append(sequential / parallel)
    return {"dags": count, "mean_speedup": round(statistics.mean(speedups), 3), "min": round(min(speedups), 3)}


async def makespan(workflow: Workflow, max_concurrency: int, root: pathlib.Path) -> float:
    began = time.perf_counter()
    record = await execute(
        workflow,
        catalog(),
        {"worker": Sleeper(spec())},
        root=root,
        output_folder="out",
        max_concurrency=max_concurrency,
    )
    took = time.perf_counter() - began
    assert record.status == "succeeded"
    return took


def cpu_bound(root: pathlib.Path, words: int) -> dict[str, Any]:
    """Eight summaries by TextRank (pure Python) of eight texts: one after the other, in threads, in processes."""
    draw = random.Random(0)
    vocabulary = ["".join(draw.choices("abcdefghij", k=draw.randint(3, 9))) for _ in range(800)]
    for i in range(8):
        sentences = (" ".join(draw.choices(vocabulary, k=12)).capitalize() + "." for _ in range(words // 12))
        (root / f"text{i}.txt").write_text(" ".join(sentences), encoding="utf-8")
    known = load_embedded_catalog()
    tool = "summarize_text_textrank"
    workflow = Workflow(
        tasks=tuple(
            Task(id=f"t{i}", task_type="summarize_text", worker=tool, arguments={"text": Value(value=f"text{i}.txt")})
            for i in range(8)
        )
    )

    async def once(workers: dict[str, Worker], max_concurrency: int) -> float:
        began = time.perf_counter()
        record = await execute(
            workflow, known, workers, root=root, output_folder="out", max_concurrency=max_concurrency
        )
        assert record.status == "succeeded", record.tasks[0].error
        return time.perf_counter() - began

    here = local_workers(known)
    run = functools.partial(asyncio.run)
    run(once(here, 1))  # imports
    sequential, threads = run(once(here, 1)), run(once(here, 2))
    with ProcessPool(2) as pool:
        there: dict[str, Worker] = {tool: ProcessWorker(here[tool], pool)}

        async def warm_then_measure() -> float:
            await once(there, 2)
            return await once(there, 2)

        processes = run(warm_then_measure())
    return {
        "tool": tool,
        "tasks": 8,
        "sequential_s": round(sequential, 3),
        "two_threads_s": round(threads, 3),
        "two_processes_s": round(processes, 3),
        "speedup_threads": round(sequential / threads, 2),
        "speedup_processes": round(sequential / processes, 2),
    }


if __name__ == "__main__":
    sys.exit(run_script(main))
