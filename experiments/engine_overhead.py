"""What the engine costs a task: DAGs of tasks that do nothing, beside LangGraph and dask on the same DAGs.

The engine's time is that of the whole call of `execute`: validation, preflight, scheduling, outputs checked, the record
made; with journal and run log also both files written. LangGraph's graphs are compiled, dask's made, outside the time.
LangGraph is run three times: bare, as dask is, keeping nothing of what was done; with its checkpointer in memory, which
is what our journal in memory is; and with the one that writes to SQLite, which is what our journal on the disk is. The
sides take turns, so that whatever else the machine does meets all alike.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Annotated, Any, TypedDict

import dask.threaded
from _engine_workloads import NoOp, catalog, parser, random_parents, spec, steps, write_result
from _script import run_script
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import START, StateGraph

from orchestai_jax.execution import MemoryJournal, execute

SCRIPT = "engine_overhead.py"


@dataclasses.dataclass(frozen=True)
class Side:
    """One way to run the DAG: a function that runs it once and gives the seconds."""

    name: str
    once: Callable[[], float]
    repetitions: int


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    made = parser(__doc__, SCRIPT, "few repetitions on small DAGs: checks the script")
    made.add_argument("--langgraph-most", type=int, default=10_000, help="largest DAG that LangGraph is given")
    options = made.parse_args(arguments)
    sizes = {100: 5, 300: 2} if options.quick else {100: 61, 10_000: 5}
    result: dict[str, Any] = {
        "what": "microseconds a task, median over repetitions, of DAGs of tasks that do nothing",
        "goals": {
            "journal_and_log_us": 40,
            "journal_in_memory_us": 15,
            "langgraph_at_least_times": 10,
            "dask_threaded_at_least_times": 3,
        },
        "sizes": {},
    }
    with tempfile.TemporaryDirectory() as folder:
        for size, repetitions in sizes.items():
            result["sizes"][str(size)] = measure(size, repetitions, options, pathlib.Path(folder))
    write_result(SCRIPT, arguments, options, result)
    return result


def measure(size: int, repetitions: int, options: Any, root: pathlib.Path) -> dict[str, Any]:
    parents = random_parents(size, options.seed)
    sides = [
        Side("journal_and_log", ours(parents, root, 64, files=True), repetitions),
        Side("journal_in_memory", ours(parents, root, 64), repetitions),
        Side("journal_and_log_4_at_once", ours(parents, root, 4, files=True), repetitions),
        Side("dask_threaded", dask_side(parents), repetitions),
    ]
    if size <= options.langgraph_most:
        few = min(repetitions, 1 if size > 2000 else 15)
        sides.append(Side("langgraph", langgraph_side(parents), few))
        sides.append(Side("langgraph_checkpoints_in_memory", langgraph_side(parents, in_memory), few))
        sides.append(Side("langgraph_checkpoints_in_sqlite", langgraph_side(parents, on_disk(root)), few))
    for side in sides:
        if side.repetitions > 1:
            side.once()  # imports, caches
    times: dict[str, list[float]] = {side.name: [] for side in sides}
    for number in range(repetitions):
        for side in sides:
            if number < side.repetitions:
                times[side.name].append(side.once() / size * 1e6)
    figures: dict[str, Any] = {
        name: {
            "median_us": round(statistics.median(values), 2),
            "min_us": round(min(values), 2),
            "max_us": round(max(values), 2),
            "repetitions": len(values),
        }
        for name, values in times.items()
    }
    for name in (*(side.name for side in sides if side.name.startswith("langgraph")), "dask_threaded"):
        if name in figures:
            for ours_name in ("journal_and_log", "journal_in_memory"):
                times_ours = figures[name]["median_us"] / figures[ours_name]["median_us"]
                figures[name][f"times_{ours_name}"] = round(times_ours, 1)
    print(f"{size} tasks: " + ", ".join(f"{name} {f['median_us']} us" for name, f in figures.items()))
    return figures


def ours(
    parents: Sequence[tuple[int, ...]], root: pathlib.Path, max_concurrency: int, *, files: bool = False
) -> Callable[[], float]:
    workflow, worker, known = steps(parents), NoOp(spec()), catalog()

    async def once() -> float:
        began = time.perf_counter()
        record = await execute(
            workflow,
            known,
            {"worker": worker},
            root=root,
            output_folder="out",
            max_concurrency=max_concurrency,
            journal=root / "journals" if files else MemoryJournal(),
            records=root / "records.jsonl" if files else None,
        )
        took = time.perf_counter() - began
        assert record.status == "succeeded"
        return took

    return lambda: asyncio.run(once())


class _State(TypedDict, total=False):
    value: Annotated[int, lambda old, new: new]


@contextlib.asynccontextmanager
async def nothing_kept() -> AsyncIterator[None]:
    yield None


@contextlib.asynccontextmanager
async def in_memory() -> AsyncIterator[InMemorySaver]:
    yield InMemorySaver()


def on_disk(root: pathlib.Path) -> Callable[[], AbstractAsyncContextManager[AsyncSqliteSaver]]:
    """A file of its own a run; its tables are made before the time begins, and the file is gone after it."""

    @contextlib.asynccontextmanager
    async def saver() -> AsyncIterator[AsyncSqliteSaver]:
        with tempfile.TemporaryDirectory(dir=root) as folder:
            async with AsyncSqliteSaver.from_conn_string(f"{folder}/checkpoints.sqlite") as made:
                await made.setup()
                yield made

    return saver


def langgraph_side(
    parents: Sequence[tuple[int, ...]],
    saver: Callable[[], AbstractAsyncContextManager[BaseCheckpointSaver[Any] | None]] = nothing_kept,
) -> Callable[[], float]:
    async def noop(state: _State) -> _State:
        return {"value": 1}

    graph = StateGraph(_State)
    for i in range(len(parents)):
        graph.add_node(f"t{i}", noop)
    for i, before in enumerate(parents):
        if len(before) > 1:
            graph.add_edge([f"t{p}" for p in before], f"t{i}")
        else:
            graph.add_edge(f"t{before[0]}" if before else START, f"t{i}")

    async def once() -> float:
        # A saver of its own a run, as each of our runs has a journal of its own.
        async with saver() as checkpointer:
            compiled = graph.compile(checkpointer=checkpointer)
            config: RunnableConfig = {"recursion_limit": 10**6, "configurable": {"thread_id": "run"}}
            began = time.perf_counter()
            await compiled.ainvoke({"value": 0}, config)
            return time.perf_counter() - began

    return lambda: asyncio.run(once())


def dask_side(parents: Sequence[tuple[int, ...]]) -> Callable[[], float]:
    def noop(*_: int) -> int:
        return 1

    graph = {f"t{i}": (noop, *(f"t{p}" for p in before)) for i, before in enumerate(parents)}
    keys = list(graph)

    def once() -> float:
        began = time.perf_counter()
        dask.threaded.get(graph, keys)
        return time.perf_counter() - began

    return once


if __name__ == "__main__":
    sys.exit(run_script(main))
