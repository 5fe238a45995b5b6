"""What a made-up instruction is after, in a form that can be checked: the results of the plan that it was worded from.

The check is on results alone. Whatever plan gives the same results is right, and the plan itself is told to nobody.
"""

from __future__ import annotations

import asyncio
import collections
import concurrent.futures
import dataclasses
import hashlib
import json
import pathlib
import re
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

import polars
import soundfile
from PIL import Image

from orchestai_jax.data import PlanningSample
from orchestai_jax.execution import RunRefusedError, execute, new_run_id
from orchestai_jax.planner.arguments import fill_arguments
from orchestai_jax.quickstart import SAMPLE_TYPES
from orchestai_jax.workers import Worker
from orchestai_jax.workflow import Catalog, Reference, RunRecord, Task, Value, Workflow, WorkflowError

Results = collections.Counter[str]
"""Every value that the tasks of a run gave, files by their content."""


def intended_plan(sample: PlanningSample, catalog: Catalog, workers: Mapping[str, str] | None = None) -> Workflow:
    """The plan that a sample was worded from, its arguments filled from the words.

    `workers` maps task types to worker ids; other tasks get the first worker of the catalog that can do them.
    """
    filled = fill_arguments(sample.instruction, sample.task_types, sample.dependencies, catalog)
    tasks = []
    for j, task_type in enumerate(sample.task_types):
        arguments = filled.arguments[j]
        sources = {a.task for a in arguments.values() if isinstance(a, Reference)}
        sources |= {f"t{s + 1}" for s, t in filled.edges if t == j}
        worker = (workers or {}).get(task_type) or catalog.workers_for(task_type)[0].id
        tasks.append(
            Task(
                id=f"t{j + 1}",
                task_type=task_type,
                worker=worker,
                arguments=arguments,
                depends_on=tuple(sorted(sources)),
            )
        )
    return Workflow(instruction=sample.instruction, tasks=tuple(tasks))


def provide_files(plan: Workflow, catalog: Catalog, root: pathlib.Path) -> bool:
    """Put a copy of a sample file wherever the plan names a file that is not there, in the format that its name says.

    Of the sample files of the kind it is the one whose column names the instruction holds most of, else the one that
    the name's hash gives; the same name is always the same file. False where the plan names what no sample file can be.
    """
    for task in plan.tasks:
        types = {port.name: port.type for port in catalog.task_type(task.task_type).inputs}
        for name, argument in task.arguments.items():
            if not isinstance(argument, Value) or name not in types or not isinstance(argument.value, str):
                continue
            wanted = pathlib.PurePosixPath(argument.value)
            alike = [s for s, kind in SAMPLE_TYPES.items() if types[name] in (kind, "file")]
            if types[name] == "file":
                alike = [s for s in alike if s.endswith(wanted.suffix)]
            if not wanted.suffix or not alike or wanted.is_absolute() or ".." in wanted.parts:
                return False
            path = root / wanted
            if not path.exists():
                turn = hashlib.sha256(argument.value.encode()).digest()[0]
                alike = alike[turn % len(alike) :] + alike[: turn % len(alike)]
                source = max(alike, key=lambda s: _columns_named(root / s, plan.instruction))
                path.parent.mkdir(parents=True, exist_ok=True)
                if not _write_as(root / source, SAMPLE_TYPES[source], path):
                    return False
    return True


def _columns_named(path: pathlib.Path, text: str) -> int:
    """How many columns of a table a text names; 0 for what is no table."""
    if path.suffix not in (".csv", ".tsv"):
        return 0
    header = path.read_text(encoding="utf-8").partition("\n")[0]
    words = set(re.findall(r"\w+", text.lower()))
    return sum(column in words for column in re.split(r"[,\t]", header))


def _write_as(source: pathlib.Path, kind: str, path: pathlib.Path) -> bool:
    """Write a sample file in the format of another ending; False where that is none of its kind."""
    if source.suffix == path.suffix or kind == "text":
        shutil.copyfile(source, path)
        return path.suffix in (source.suffix, ".txt", ".md", ".log", ".rst")
    if kind == "image" and path.suffix in (".jpeg", ".jpg", ".png", ".gif", ".webp", ".bmp", ".tiff"):
        with Image.open(source) as image:
            image.convert("RGB").save(path)
    elif kind == "audio" and path.suffix in (".wav", ".flac", ".ogg"):
        samples, rate = soundfile.read(source)
        soundfile.write(path, samples, rate)
    elif kind == "table" and path.suffix in (".csv", ".tsv", ".jsonl", ".parquet"):
        table = _READ[source.suffix](source)
        if path.suffix == ".parquet":
            table.write_parquet(path)
        elif path.suffix == ".jsonl":
            table.write_ndjson(path)
        else:
            table.write_csv(path, separator="\t" if path.suffix == ".tsv" else ",")
    else:
        return False
    return True


_READ = {
    ".csv": polars.read_csv,
    ".tsv": lambda path: polars.read_csv(path, separator="\t"),
    ".jsonl": polars.read_ndjson,
}


@dataclasses.dataclass
class GoalCheck:
    """Judges runs of instructions by the results that their intended plans give with the same workers."""

    goals: Mapping[str, PlanningSample]
    """By instruction."""
    catalog: Catalog
    workers: Mapping[str, Worker]
    root: pathlib.Path
    reference_runs: int = 0
    _known: dict[tuple[str, tuple[tuple[str, str], ...]], Results | None] = dataclasses.field(default_factory=dict)

    def __call__(self, record: RunRecord) -> float | None:
        """1 where the run gave what the intended plan gives, else 0; None where that plan itself does not run."""
        sample = self.goals[record.instruction]
        used = {run.task_type: run.worker for run in record.tasks if run.worker and run.task_type in sample.nodes}
        wanted = self.results(sample, used)
        if wanted is None:
            return None
        return float(record.status == "succeeded" and results_of(record, self.root) == wanted)

    def results(self, sample: PlanningSample, used: Mapping[str, str]) -> Results | None:
        """What the intended plan gives with some workers; None where it does not run to its end."""
        key = (sample.instruction, tuple(sorted(used.items())))
        if key not in self._known:
            self._known[key] = self._run(intended_plan(sample, self.catalog, used))
        return self._known[key]

    def _run(self, plan: Workflow) -> Results | None:
        folder = self.root / "outputs" / f"goal-{new_run_id()}"
        try:
            # In a thread with a loop of its own: the collection's loop is the one that waits for the verdict.
            record = _in_new_loop(
                execute(plan, self.catalog, self.workers, root=self.root, output_folder=folder.absolute())
            )
            self.reference_runs += 1
            return results_of(record, self.root) if record.status == "succeeded" else None
        except (WorkflowError, RunRefusedError):
            return None
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def results_of(record: RunRecord, root: pathlib.Path) -> Results:
    """Every value that the tasks of a run gave, files by their content and ending."""
    return collections.Counter(
        _fingerprint(value, root) for run in record.tasks for value in run.outputs.values() if value is not None
    )


def runnable(samples: Sequence[PlanningSample], check: GoalCheck) -> list[PlanningSample]:
    """The samples whose intended plans run to their end; the files that they name are provided."""
    kept = []
    for sample in samples:
        plan = intended_plan(sample, check.catalog)
        if provide_files(plan, check.catalog, check.root) and check.results(sample, {}) is not None:
            kept.append(sample)
    return kept


def _fingerprint(value: Any, root: pathlib.Path) -> str:
    if isinstance(value, str) and 0 < len(value) < 300 and "\n" not in value:
        path = root / value
        if path.is_file():
            return path.suffix + hashlib.sha256(path.read_bytes()).hexdigest()
    return json.dumps(value, sort_keys=True)


def _in_new_loop(running: Any) -> RunRecord:

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, running).result()
