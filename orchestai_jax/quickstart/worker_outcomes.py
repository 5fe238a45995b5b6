"""What each worker really does: every capable worker run on the same real tasks, its quality, time and cost kept."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import hashlib
import json
import logging
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestai_jax.config import Preference
from orchestai_jax.execution import RunPolicies, execute
from orchestai_jax.quickstart.measured_tasks import MEASURED_TASKS
from orchestai_jax.workers import Output, Worker, measure_quality
from orchestai_jax.workflow import Catalog, RunRecord, Task, Value, Workflow, append_record

_log = logging.getLogger(__name__)

FORMAT_VERSION = 1
REPETITIONS = 3
"""Runs of each worker on each task; the one with the median time counts."""

LONG_S = 0.25
"""A run as long as this is not repeated: what it takes is far above the noise."""


class OutcomesError(ValueError):
    """Outcomes that cannot be read or do not cover what is asked. One line with the remedy."""


@dataclasses.dataclass(frozen=True, slots=True)
class WorkerFigures:
    """What one worker does on the tasks of one type, on average over the tasks."""

    task_type: str
    worker: str
    quality: float
    """Mean measured quality in [0, 1], a failed task counting 0; the success rate where quality has no measure."""
    seconds: float
    cost: float
    """US dollars a call."""
    success_rate: float
    tasks: int
    measured: bool
    """Whether the quality comes from a measure (else from success alone)."""


@dataclasses.dataclass(frozen=True)
class WorkerOutcomes:
    """Figures of every worker, in catalog order."""

    figures: tuple[WorkerFigures, ...]

    def of(self, task_type: str) -> tuple[WorkerFigures, ...]:
        """The candidates of a task type. Raises OutcomesError where none was measured."""
        if task_type not in self._by_task_type:
            raise OutcomesError(f"no worker was measured on task type {task_type!r}; measure its workers first")
        return self._by_task_type[task_type]

    @functools.cached_property
    def _by_task_type(self) -> dict[str, tuple[WorkerFigures, ...]]:
        table: dict[str, tuple[WorkerFigures, ...]] = {}
        for figures in self.figures:
            table[figures.task_type] = (*table.get(figures.task_type, ()), figures)
        return table

    @property
    def task_types(self) -> tuple[str, ...]:
        """The task types that have figures."""
        return tuple(self._by_task_type)

    @property
    def choices(self) -> tuple[str, ...]:
        """The task types that have two candidates or more."""
        return tuple(t for t in self.task_types if len(self.of(t)) > 1)

    @functools.cached_property
    def complexities(self) -> dict[str, float]:
        """Task type → its time as a share of the slowest task type's, each by the mean over its workers."""
        seconds = {t: statistics.fmean(f.seconds for f in self.of(t)) for t in self.task_types}
        longest = max(seconds.values(), default=0.0) or 1.0
        return {task_type: value / longest for task_type, value in seconds.items()}


def best_worker(outcomes: WorkerOutcomes, task_type: str, preference: Preference) -> str:
    """The worker of the highest utility under a preference; the first in catalog order among equals.

    Cost and time are divided by the highest among the candidates, see Preference.utility.
    """
    gains = utilities(outcomes, task_type, preference)
    return max(gains, key=lambda worker: gains[worker])


def utilities(outcomes: WorkerOutcomes, task_type: str, preference: Preference) -> dict[str, float]:
    """Worker → utility, in catalog order."""
    candidates = outcomes.of(task_type)
    dearest = max(f.cost for f in candidates) or 1.0
    slowest = max(f.seconds for f in candidates) or 1.0
    return {f.worker: preference.utility(f.quality, f.cost / dearest, f.seconds / slowest) for f in candidates}


def cheapest_worker(outcomes: WorkerOutcomes, task_type: str) -> str:
    """The worker of the lowest measured cost."""
    return min(outcomes.of(task_type), key=lambda f: f.cost).worker


def highest_quality_worker(outcomes: WorkerOutcomes, task_type: str) -> str:
    """The worker of the highest measured quality; the quicker one among equals."""
    return max(outcomes.of(task_type), key=lambda f: (f.quality, -f.seconds)).worker


def with_measured_figures(catalog: Catalog, outcomes: WorkerOutcomes) -> Catalog:
    """The catalog with each measured worker's quality, cost and latency in place of the declared ones."""
    measured = {f.worker: f for f in outcomes.figures}
    workers = tuple(
        worker.model_copy(
            update={
                "quality": measured[worker.id].quality,
                "cost": measured[worker.id].cost,
                "latency": measured[worker.id].seconds,
            }
        )
        if worker.id in measured
        else worker
        for worker in catalog.workers
    )
    # A new catalog, not a copy: copies keep the look-up tables that the old one has made already.
    return Catalog(name=catalog.name, task_types=catalog.task_types, workers=tuple(workers), links=catalog.links)


def measure_workers(
    catalog: Catalog,
    workers: Mapping[str, Worker],
    root: Path,
    *,
    cache: Path | None = None,
    records: Path | None = None,
    repetitions: int = REPETITIONS,
    tasks: Mapping[str, Sequence[Mapping[str, Any]]] = MEASURED_TASKS,
    progress: Callable[[int, int, str], None] | None = None,
) -> WorkerOutcomes:
    """Run every worker on the measured tasks of its type, one at a time.

    Args:
      catalog: what the workers can do.
      workers: worker id → worker.
      root: folder of the sample files; outputs go to `root/measured` and are removed again.
      cache: file that the figures are written to, and read from where it was written for the same tasks and workers.
      records: file that a run record of each worker on each task is appended to.
      repetitions: most runs of each worker on each task.
      tasks: task type → arguments of each task.
      progress: is told (workers done, workers in all, worker).

    Raises:
      OutcomesError: a task type of `tasks` or its workers are missing, or the cache cannot be read.
    """
    key = _key(catalog, tasks, repetitions)
    if cache is not None and cache.exists() and (kept := _read(cache, key)) is not None:
        return kept
    todo = [(t, spec.id) for t in catalog.index if t in tasks for spec in catalog.workers_for(t)]
    missing = [worker for _, worker in todo if worker not in workers]
    if missing:
        raise OutcomesError(f"worker {missing[0]!r} of catalog {catalog.name!r} is not there to be measured")
    figures = []
    for done, (task_type, worker) in enumerate(todo):
        if progress is not None:
            progress(done, len(todo), worker)
        # Where there is nothing to choose, the time is wanted only roughly.
        times = repetitions if len(catalog.workers_for(task_type)) > 1 else 1
        runs = [
            _run_task(catalog, workers, root, task_type, worker, arguments, times, warm_up=place == 0)
            for place, arguments in enumerate(tasks[task_type])
        ]
        figures.append(_figures(task_type, worker, runs))
        if records is not None:
            for run in runs:
                append_record(records, run)
    if progress is not None:
        progress(len(todo), len(todo), "")
    outcomes = WorkerOutcomes(tuple(figures))
    if cache is not None:
        _write(cache, key, outcomes)
    return outcomes


def _run_task(
    catalog: Catalog,
    workers: Mapping[str, Worker],
    root: Path,
    task_type: str,
    worker: str,
    arguments: Mapping[str, Any],
    repetitions: int,
    *,
    warm_up: bool,
) -> RunRecord:
    """The run of median time, with the measured quality in its record."""
    task = Task(
        id="t1", task_type=task_type, worker=worker, arguments={k: Value(value=v) for k, v in arguments.items()}
    )
    named = ", ".join(f"{k}={v}" for k, v in arguments.items())
    workflow = Workflow(instruction=f"{catalog.task_type(task_type).description} ({named})", tasks=(task,))

    def once() -> RunRecord:
        return asyncio.run(
            execute(workflow, catalog, workers, root=root, output_folder="measured", max_concurrency=1,
                    policies=RunPolicies(fallback_workers=0), planner_info={"name": "measurement of workers"})
        )  # fmt: skip

    if warm_up:
        once()  # the first call imports the tool's library
    runs = [once()]
    while len(runs) < repetitions and runs[0].tasks[0].duration_s < LONG_S:
        runs.append(once())
    runs.sort(key=lambda run: run.tasks[0].duration_s)
    median = runs[len(runs) // 2]
    (ended,) = median.tasks
    if ended.status != "succeeded":
        _log.warning("worker %s failed on %s: %s", worker, named, ended.error)
        return median
    quality = measure_quality(catalog.task_type(task_type), arguments, Output(ended.outputs), root)
    for value in ended.outputs.values():
        path = root / value if isinstance(value, str) and len(value) < 200 else None
        if path is not None and path.is_file() and path.parent == root / "measured":
            path.unlink()
    return median.model_copy(update={"tasks": (ended.model_copy(update={"quality": quality}),)})


def _figures(task_type: str, worker: str, runs: Sequence[RunRecord]) -> WorkerFigures:
    ended = [run.tasks[0] for run in runs]
    succeeded = [task.status == "succeeded" for task in ended]
    measured = any(task.quality is not None for task in ended)
    qualities = [
        0.0 if not right else task.quality
        for task, right in zip(ended, succeeded, strict=True)
        if not right or not measured or task.quality is not None
    ]
    rate = statistics.fmean(map(float, succeeded))
    quality = statistics.fmean(q for q in qualities if q is not None) if measured else rate
    return WorkerFigures(
        task_type=task_type,
        worker=worker,
        quality=quality,
        seconds=statistics.fmean(task.duration_s for task in ended),
        cost=statistics.fmean(task.cost for task in ended),
        success_rate=rate,
        tasks=len(runs),
        measured=measured,
    )


def _key(catalog: Catalog, tasks: Mapping[str, Any], repetitions: int) -> str:
    """What the figures depend on, beside the machine: other tasks or workers are measured again."""
    workers = {t: [w.id for w in catalog.workers_for(t)] for t in catalog.index}
    content = json.dumps([FORMAT_VERSION, repetitions, workers, {k: list(map(dict, v)) for k, v in tasks.items()}])
    return hashlib.sha256(content.encode()).hexdigest()


def _read(cache: Path, key: str) -> WorkerOutcomes | None:
    try:
        content = json.loads(cache.read_text(encoding="utf-8"))
        if content["key"] != key:
            return None
        return WorkerOutcomes(tuple(WorkerFigures(**entry) for entry in content["figures"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OutcomesError(f"{cache}: cannot be read ({error}); delete it to measure again") from error


def _write(cache: Path, key: str, outcomes: WorkerOutcomes) -> None:
    content = {"key": key, "figures": [dataclasses.asdict(f) for f in outcomes.figures]}
    cache.parent.mkdir(parents=True, exist_ok=True)
    partial = cache.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=1), encoding="utf-8")
    partial.replace(cache)
