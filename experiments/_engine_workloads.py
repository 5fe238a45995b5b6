"""Workflows, workers and results that the scripts about the execution engine share."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import os
import pathlib
import random
from collections.abc import Mapping, Sequence
from typing import Any

from _machine import ROOT, command_line, describe_machine

from orchestai_jax.quickstart import machine
from orchestai_jax.workers import Output, WorkerContext
from orchestai_jax.workflow import (
    Catalog,
    Parameter,
    Port,
    Reference,
    Task,
    TaskType,
    Value,
    WorkerLimits,
    WorkerSpec,
    Workflow,
)

STEP = TaskType(
    id="step",
    description="Wait and give a number.",
    inputs=(Port(name="first", type="number", required=False),),
    outputs=(Port(name="value", type="number"),),
    parameters=(Parameter(name="seconds", type="number"),),
)


@dataclasses.dataclass(frozen=True)
class NoOp:
    """Gives 1."""

    spec: WorkerSpec

    async def run(self, task_type: TaskType, arguments: Mapping[str, Any], context: WorkerContext) -> Output:
        """Do nothing."""
        return Output({"value": 1})


@dataclasses.dataclass(frozen=True)
class Sleeper:
    """Waits for the seconds that its task says, and gives 1."""

    spec: WorkerSpec

    async def run(self, task_type: TaskType, arguments: Mapping[str, Any], context: WorkerContext) -> Output:
        """Wait."""
        await asyncio.sleep(arguments["seconds"])
        return Output({"value": 1})


def spec(name: str = "worker", limit: int | None = None) -> WorkerSpec:
    """A worker that does steps."""
    return WorkerSpec(id=name, task_types=("step",), limits=WorkerLimits(max_concurrency=limit))


def catalog(*workers: WorkerSpec) -> Catalog:
    """A catalog of steps and these workers."""
    return Catalog(name="steps", task_types=(STEP,), workers=workers or (spec(),))


def random_parents(count: int, seed: int, reach: int = 50, most: int = 2) -> list[tuple[int, ...]]:
    """For each task up to `most` earlier ones that it depends on, none of them further back than `reach`."""
    draw = random.Random(seed)
    return [
        tuple(sorted({draw.randrange(max(0, i - reach), i) for _ in range(draw.randint(0, most))})) if i else ()
        for i in range(count)
    ]


def steps(parents: Sequence[Sequence[int]], seconds: Sequence[float] | None = None, worker: str = "worker") -> Workflow:
    """A workflow of steps; each takes the number that its first parent gives."""
    tasks = []
    for i, before in enumerate(parents):
        arguments: dict[str, Any] = {"first": Reference(task=f"t{before[0]}", output="value")} if before else {}
        if seconds is not None:
            arguments["seconds"] = Value(value=seconds[i])
        depends_on = tuple(f"t{p}" for p in before)
        tasks.append(Task(id=f"t{i}", task_type="step", worker=worker, depends_on=depends_on, arguments=arguments))
    return Workflow(instruction="steps", tasks=tuple(tasks))


def parser(description: str | None, script: str, quick: str) -> argparse.ArgumentParser:
    """The options that all scripts about the engine have."""
    made = argparse.ArgumentParser(
        description=description,
        epilog=f"examples:\n  python experiments/{script}\n  python experiments/{script} --quick\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--quick", action="store_true", help=quick)
    made.add_argument("--seed", type=int, default=0, help="of every random choice (default: 0)")
    made.add_argument("--results", type=pathlib.Path, help="folder of the JSON (default: experiments/results)")
    return made


def write_result(
    script: str, arguments: Sequence[str] | None, options: argparse.Namespace, result: dict[str, Any]
) -> pathlib.Path:
    """Write the figures with the machine, the command and the goals; a quick run never overwrites real figures."""
    name = pathlib.Path(script).stem
    folder = options.results or (ROOT / "runs" / f"{name}_quick" if options.quick else ROOT / "experiments" / "results")
    folder.mkdir(parents=True, exist_ok=True)
    described = describe_machine()
    described["versions"] |= machine.describe_machine(("langgraph", "dask", "pydantic"))["versions"]
    whole = {
        "command": command_line(script, arguments),
        "quick": options.quick,
        "seed": options.seed,
        **result,
        "load_before": round(os.getloadavg()[0], 2),
        "machine": described,
    }
    out = folder / f"{name}.json"
    out.write_text(json.dumps(whole, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    print(f"written: {out}")
    return out
