"""Run records: one executed workflow a line of JSON, appended as runs end and read back as training data."""

from __future__ import annotations

import json
import logging
import os
import pathlib
from typing import Any, BinaryIO, Literal

import pydantic
from pydantic import BaseModel, ConfigDict, Field

from orchestai_jax.workflow._field_errors import one_line
from orchestai_jax.workflow.ordering import predecessors, topological_order
from orchestai_jax.workflow.workflow import Workflow

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

RECORD_VERSION = 1

_LOG = logging.getLogger(__name__)

TaskStatus = Literal["succeeded", "failed", "skipped", "cancelled"]
RunStatus = Literal["succeeded", "partial", "failed", "cancelled"]


class RecordError(ValueError):
    """A run record that cannot be written or read. The message names the file and line."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TaskRun(_Frozen):
    """What became of one task of a workflow."""

    task: str
    """The task's id in the workflow."""
    task_type: str
    worker: str | None = None
    """The worker that did it, which may be another than the one planned."""
    status: TaskStatus
    started_s: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Seconds from the start of the run to the start of the task."""
    duration_s: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    cost: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """US dollars."""
    tokens: int = Field(default=0, ge=0)
    quality: float | None = Field(default=None, ge=0, le=1)
    """Measured quality of the outputs, where something measured it."""
    error: str | None = None
    outputs: dict[str, Any] = {}
    """Output name to value: JSON, files as their paths."""


class RunRecord(_Frozen):
    """One execution of one workflow."""

    schema_version: Literal[1] = RECORD_VERSION
    run_id: str = Field(min_length=1)
    instruction: str = ""
    created: str = ""
    """When the run began: ISO 8601, UTC."""
    planner: dict[str, Any] = {}
    """Which planner made the workflow: name, checkpoint, version, as far as it says."""
    preference: tuple[float, float, float] | None = None
    """Weights of (success, cost, latency) that the workers were chosen under."""
    workflow: Workflow
    tasks: tuple[TaskRun, ...] = ()
    status: RunStatus
    duration_s: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    cost: float = Field(default=0.0, ge=0, allow_inf_nan=False)


def append_record(path: str | os.PathLike[str], record: RunRecord) -> None:
    """Append a record as one line and force it to the disk. Makes the file, and its folder, where they do not exist.

    A torn last line, left by a process that died while writing, is moved to `PATH.torn` with a warning: left in the
    middle it would make the file unreadable. Writers lock each other out (where the system has `flock`).
    NaN and infinities in outputs are written as null, which is what JSON has for them. Raises RecordError where the
    record holds something that JSON cannot express.
    """
    path = pathlib.Path(path)
    try:
        # Through Python's encoder in ASCII, because a lone surrogate (undecodable bytes of a command line) is no UTF-8.
        line = json.dumps(_finite(record.model_dump(mode="python")), allow_nan=False).encode("ascii")
    except (TypeError, ValueError, RecursionError) as error:
        raise RecordError(f"{path}: run {record.run_id!r} cannot be written as JSON: {error}") from error
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX)  # released when the file is closed
        last = _unfinished_line(file)
        if last and _is_torn(last):
            torn = path.with_name(path.name + ".torn")
            with torn.open("ab") as kept:
                kept.write(last + b"\n")
            file.truncate(file.seek(0, os.SEEK_END) - len(last))
            _LOG.warning("%s: its last line was torn; moved to %s", path, torn.name)
        elif last:
            line = b"\n" + line
        file.write(line + b"\n")
        file.flush()
        os.fsync(file.fileno())


def read_records(path: str | os.PathLike[str]) -> tuple[list[RunRecord], list[str]]:
    """Read a file of run records: the records, and what had to be left out.

    A last line that was torn (the process died while writing it, so that it is not whole JSON) is left out and named
    in the second list. Any other line that is not a record raises RecordError naming the line and the field.
    """
    path = pathlib.Path(path)
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise RecordError(f"{path}: cannot be read: {error.strerror or error}") from error
    last = max((number for number, line in enumerate(lines, start=1) if line.strip()), default=0)
    records: list[RunRecord] = []
    problems: list[str] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        if number == last and _is_torn(line):
            problems.append(f"{where}: left out, it is torn (not whole JSON)")
            continue
        try:
            records.append(_parse(line))
        except RecordError as error:
            raise RecordError(f"{where}: {error}") from error
    return records, problems


def training_example(record: RunRecord) -> dict[str, Any]:
    """The training JSON of a record: `{"instruction", "targets", "rewards"}`, tasks in topological order.

    `targets` holds `task_types` and `model_selections` (the worker that did the task; the planned one where it never
    ran), one entry a task, and `dependencies`, pairs [producer, consumer] of positions in them. `rewards` holds
    `success` (share of the tasks that succeeded), `cost` (minus US dollars) and `latency` (minus seconds).
    Raises WorkflowError where the recorded workflow is not a DAG.
    """
    order = topological_order(record.workflow)
    tasks = {task.id: task for task in record.workflow.tasks}
    runs = {run.task: run for run in record.tasks}
    position = {task_id: i for i, task_id in enumerate(order)}
    done = sum(run.status == "succeeded" for task_id, run in runs.items() if task_id in tasks)
    success = done / len(order) if order else float(record.status == "succeeded")

    def worker(task_id: str) -> str | None:
        ran = runs[task_id].worker if task_id in runs else None
        return tasks[task_id].worker if ran is None else ran

    return {
        "instruction": record.instruction or record.workflow.instruction,
        "targets": {
            "model_selections": [worker(task_id) for task_id in order],
            "task_types": [tasks[task_id].task_type for task_id in order],
            "dependencies": sorted(
                [position[producer], position[task_id]]
                for task_id in order
                for producer in predecessors(tasks[task_id])
            ),
        },
        "rewards": {"success": success, "cost": 0.0 - record.cost, "latency": 0.0 - record.duration_s},
    }


def _parse(line: bytes) -> RunRecord:
    try:
        content = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise RecordError(f"is not UTF-8 at byte {error.start + 1}") from error
    except RecursionError as error:
        raise RecordError("is nested too deeply") from error
    except ValueError as error:
        raise RecordError(f"is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise RecordError(f"is not a run record but a JSON {type(content).__name__}; an object is wanted")
    version = content.get("schema_version", RECORD_VERSION)
    if version != RECORD_VERSION:
        raise RecordError(f"schema_version is {version!r}; this version reads {RECORD_VERSION}: update the package")
    try:
        return RunRecord.model_validate(content)
    except pydantic.ValidationError as error:
        raise RecordError(one_line(error)) from error


def _is_torn(line: bytes) -> bool:
    try:
        json.loads(line.decode("utf-8"))
    except RecursionError:
        return False
    except ValueError:
        return True
    return False


def _unfinished_line(file: BinaryIO) -> bytes:
    """What stands after the file's last newline."""
    end = file.seek(0, os.SEEK_END)
    tail = b""
    while end > 0 and b"\n" not in tail:
        start = max(0, end - 65536)
        file.seek(start)
        tail = file.read(end - start) + tail
        end = start
    return tail.rpartition(b"\n")[2]


def _finite(value: Any) -> Any:
    """`value` with NaN and infinities as None, and tuples as lists."""
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return value
