"""Many workflows at once for minutes: does the memory stay flat?

100 workflows of 50 tasks run beside one another and are begun anew as they end, with journal, run log, retries, shared
gates and a listener, as a server would run them. Memory is read every second; the first fifth of the time is warm-up.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import gc
import pathlib
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any

import psutil
from _engine_workloads import catalog, parser, random_parents, spec, steps, write_result
from _script import run_script

from orchestai_jax.execution import Event, Gates, RunPolicies, execute
from orchestai_jax.workers import Output, WorkerContext, WorkerError
from orchestai_jax.workflow import TaskType, WorkerSpec

SCRIPT = "engine_soak.py"
WORKFLOWS, TASKS = 100, 50


@dataclasses.dataclass(frozen=True)
class Moody:
    """Waits a little, talks, and fails now and then."""

    spec: WorkerSpec

    async def run(self, task_type: TaskType, arguments: Mapping[str, Any], context: WorkerContext) -> Output:
        """Wait, talk, fail or answer."""
        await asyncio.sleep(random.uniform(0.0, 0.2))
        if context.on_chunk is not None:
            context.on_chunk("some text")
        if random.random() < 0.1:
            raise WorkerError("now and then", retryable=True)
        return Output({"value": random.random(), "text": "x" * 200}, tokens=5)


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    made = parser(__doc__, SCRIPT, "ten seconds: checks the script")
    made.add_argument("--minutes", type=float, default=10.0, help="how long (default: 10)")
    options = made.parse_args(arguments)
    seconds = 10.0 if options.quick else 60.0 * options.minutes
    with tempfile.TemporaryDirectory() as folder:
        result = asyncio.run(soak(seconds, options.seed, pathlib.Path(folder)))
    print({key: value for key, value in result.items() if key != "memory_mib"})
    write_result(SCRIPT, arguments, options, result)
    return result


async def soak(seconds: float, seed: int, root: pathlib.Path) -> dict[str, Any]:
    random.seed(seed)
    gates, statuses, events = Gates(), collections.Counter[str](), collections.Counter[str]()
    policies = RunPolicies.model_validate({"default": {"retry": {"first_delay_s": 0.01, "jitter_s": 0.01}}})
    workers = {"worker": Moody(spec(limit=400))}
    end = time.monotonic() + seconds

    def listen(event: Event) -> None:
        events[event.kind] += 1

    async def one_after_another(number: int) -> None:
        draw = random.Random(seed * 1000 + number)
        while time.monotonic() < end:
            record = await execute(
                steps(random_parents(TASKS, draw.randrange(2**31), reach=10)),
                catalog(spec(limit=400)),
                workers,
                root=root,
                output_folder=f"out{number}",
                max_concurrency=8,
                policies=policies,
                journal=root / "journals",
                records=root / f"records{number}.jsonl",
                gates=gates,
                on_event=listen,
            )
            statuses[record.status] += 1
            if draw.random() < 0.05:  # the log would grow with the run: that is not what is measured
                (root / f"records{number}.jsonl").unlink(missing_ok=True)

    async def watch() -> list[float]:
        process, seen = psutil.Process(), []
        while time.monotonic() < end:
            await asyncio.sleep(min(1.0, seconds / 20))
            seen.append(process.memory_info().rss / 2**20)
        return seen

    watching = asyncio.create_task(watch())
    await asyncio.gather(*(one_after_another(number) for number in range(WORKFLOWS)))
    memory = await watching
    gc.collect()
    steady = memory[len(memory) // 5 :]
    quarter = max(1, len(steady) // 4)
    first, last = statistics.mean(steady[:quarter]), statistics.mean(steady[-quarter:])
    return {
        "what": f"{WORKFLOWS} workflows of {TASKS} tasks at once, resident memory in MiB after the first fifth",
        "minutes": round(seconds / 60, 2),
        "runs": dict(statuses),
        "tasks_per_s": round(events["started"] / seconds, 1),
        "events": dict(events),
        "first_quarter_mib": round(first, 1),
        "last_quarter_mib": round(last, 1),
        "growth_percent": round(100 * (last / first - 1), 2),
        "most_mib": round(max(steady), 1),
        "memory_mib": [round(m, 1) for m in memory[:: max(1, len(memory) // 60)]],
    }


if __name__ == "__main__":
    sys.exit(run_script(main))
