"""Checks before a run: everything that can be known to go wrong is named before the first task starts."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Container, Iterator, Mapping
from typing import Any

from orchestai_jax.workers import Worker, WorkerError, fault_of, resolve_inside
from orchestai_jax.workers.local_tool import TEXT_SUFFIXES
from orchestai_jax.workflow import Catalog, Task, TaskType, Value, Workflow, check_workflow

FILE_TYPES = frozenset({"file", "image", "audio", "table", "video", "document"})
"""Port types whose values are paths of files, relative to the run's root."""

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


class RunRefusedError(ValueError):
    """A workflow that cannot be run as it stands; the one line lists every reason."""


def check_run(
    workflow: Workflow,
    catalog: Catalog,
    workers: Mapping[str, Worker],
    root: pathlib.Path,
    output_folder: pathlib.Path,
    finished: Container[str] = (),
) -> None:
    """Refuse a run that cannot go well: an invalid workflow, missing workers, missing files, folders out of place.

    Tasks that are `finished` (of a resumed run) need no worker and no files any more. Both folders are resolved paths.

    Raises:
        WorkflowError: the workflow does not validate against the catalog.
        RunRefusedError: it has no tasks; a task's worker is missing, cannot do it or cannot work (no key, …);
            a literal argument names a file that is not there or lies outside `root`; a folder is not usable. The first
            ten reasons are given.
    """
    check_workflow(workflow, catalog)
    if not root.is_dir():
        raise RunRefusedError(f"the run's root {root} is not a folder: create it or name another")
    if not output_folder.is_relative_to(root):
        raise RunRefusedError(f"the output folder {output_folder} is outside the root {root}: choose one inside it")
    if not output_folder.is_dir() and output_folder.exists():
        raise RunRefusedError(f"the output folder {output_folder} is a file: choose another")
    if not workflow.tasks:
        said = f" (the planner says: {'; '.join(workflow.notes)})" if workflow.notes else ""
        raise RunRefusedError(f"the workflow has no tasks: there is nothing to run{said}")
    able = _Able(workers)
    reasons = [
        reason
        for task in workflow.tasks
        if task.id not in finished
        if not able.surely(task)
        for reason in _reasons(task, catalog.task_type(task.task_type), able, root)
    ]
    if reasons:
        more = f"; and {len(reasons) - 10} more" if len(reasons) > 10 else ""
        raise RunRefusedError("the workflow cannot run: " + "; ".join(reasons[:10]) + more)


def inside(root: pathlib.Path, name: str) -> pathlib.Path | None:
    """What `name`, relative to `root` or absolute, means; None where that is outside `root` or no path at all."""
    try:
        path = (root / name).resolve()
    except (OSError, ValueError, RuntimeError):  # NUL byte, too long a name, a loop of links
        return None
    return path if path.is_relative_to(root.resolve()) else None


def looks_like_text_file(text: str) -> bool:
    """Whether a text is more likely the path of one: a single word with a text file's ending."""
    return (
        len(text) < 256
        and not any(c.isspace() for c in text)
        and pathlib.PurePath(text).suffix.lower() in TEXT_SUFFIXES
    )


class _Able:
    """Which workers can do what, as they say themselves."""

    def __init__(self, workers: Mapping[str, Worker]) -> None:
        self.workers = workers
        self._faults: dict[str, str | None] = {}
        self._by_task_type: dict[str, set[str]] = {}
        self._sure: set[tuple[str, str]] = set()
        for name, worker in workers.items():
            for task_type in worker.spec.task_types:
                self._by_task_type.setdefault(task_type, set()).add(name)

    def surely(self, task: Task) -> bool:
        """Whether the task's worker can do it and no argument is written out: most tasks of a large workflow."""
        worker = task.worker
        if (worker, task.task_type) not in self._sure:
            if worker is None or worker not in self.to_do(task.task_type) or self.fault(worker):
                return False
            self._sure.add((worker, task.task_type))
        return not task.arguments or Value not in map(type, task.arguments.values())

    def fault(self, worker_id: str) -> str | None:
        if worker_id not in self._faults:
            self._faults[worker_id] = fault_of(self.workers[worker_id])
        return self._faults[worker_id]

    def to_do(self, task_type: str) -> set[str]:
        return self._by_task_type.get(task_type, set())

    def choice(self, task_type: str) -> str:
        able = sorted(self.to_do(task_type))
        return f"workers here that can do it: {', '.join(able)}" if able else "no worker here can do it"


def _reasons(task: Task, task_type: TaskType, able: _Able, root: pathlib.Path) -> Iterator[str]:
    if task.worker is None:
        yield f"task {task.id} ({task_type.id}) has no worker ({able.choice(task_type.id)})"
    elif task.worker not in able.workers:
        yield f"task {task.id} wants worker {task.worker!r}, which is not here ({able.choice(task_type.id)})"
    elif task.worker not in able.to_do(task_type.id):
        yield f"task {task.id}: worker {task.worker!r} cannot do {task_type.id} ({able.choice(task_type.id)})"
    elif fault := able.fault(task.worker):
        yield f"task {task.id}: worker {task.worker!r} cannot work: {fault}"
    for name, argument in task.arguments.items():
        if isinstance(argument, Value):
            for text in _strings(argument.value):
                reason = _file_fault(task_type, name, text, root)
                if reason:
                    yield f"task {task.id}: argument {name} {reason}"


def _strings(value: Any) -> list[str]:
    items = value if isinstance(value, list | tuple) else [value]
    return [item for item in items if isinstance(item, str)]


def _file_fault(task_type: TaskType, name: str, text: str, root: pathlib.Path) -> str | None:
    """Why a literal cannot be meant as this argument, as far as files are concerned; None where it may well be."""
    if _URL.match(text):
        return None  # only the worker knows which addresses it fetches
    port_type = next((p.type for p in task_type.inputs if p.name == name), None)
    parameter_type = next((p.type for p in task_type.parameters if p.name == name), None)
    # A text input may be a file's path: one word with a text file's ending that is no file is a mistake, not a text.
    if port_type in FILE_TYPES or (port_type == "text" and looks_like_text_file(text)):
        try:
            resolve_inside(root, text)
        except WorkerError as error:
            reason = str(error)
            return f"names no file: {reason if len(reason) <= 300 else reason[:297] + '...'}"
    elif parameter_type == "path" and inside(root, text) is None:  # whether it must exist only the worker knows
        return f"leads out of the root {root}: {text[:80]!r}"
    return None
