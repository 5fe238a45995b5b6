"""The journal of a run: what has been done, written before anybody may rely on it, so that a killed run goes on.

One file a run, JSON lines: `begin` with all that a resumption needs, then `started` and `ended` of each task, `called`
of each failed call after which the task went on, `resumed` where it was, `over` at the end. A write is one `write(2)`
with all the lines that came together: it costs microseconds, and what it has written outlives the process whatever
kills it. Whether it also outlives a loss of power is `fsync`'s.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

import pydantic_core
from pydantic import BaseModel, ConfigDict, Field

from orchestai_jax.execution.policies import BudgetPolicy, RunPolicies
from orchestai_jax.workflow import Attempt, Catalog, TaskRun, Workflow
from orchestai_jax.workflow.model_json import model_json

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

JOURNAL_VERSION = 1


class JournalError(ValueError):
    """A journal that cannot be read or resumed. The message names the file and what is wrong with it."""


class JournalBusyError(JournalError):
    """The journal's run is running, here or in another process."""


class JournalHeader(BaseModel):
    """All that a resumption needs to know of a run, written before its first task starts."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    version: Literal[1] = JOURNAL_VERSION
    """Of the journal's format."""
    run_id: str = Field(min_length=1)
    """The run's id, which is also the file's name."""
    created: str
    """When the run began: ISO 8601, UTC."""
    root: str
    """The folder that files are read inside, absolute."""
    output_folder: str
    """Where files are written, absolute."""
    max_concurrency: int = Field(ge=1)
    """How many tasks may run at once."""
    policies: RunPolicies
    """What the run is governed by."""
    fsync: bool = False
    """Whether every write is forced to the disk."""
    planner: dict[str, Any] = {}
    """Which planner made the workflow."""
    preference: tuple[float, float, float] | None = None
    """Weights of (success, cost, latency) that the workers were chosen under."""
    workflow: Workflow
    """The plan."""
    catalog: Catalog
    """The task types of the plan's tasks and the workers that can do them."""

    def as_json(self) -> bytes:
        """It as JSON, on one line."""
        try:
            workflow = model_json(self.workflow)
        except (TypeError, ValueError, RecursionError):
            return self.model_dump_json().encode("utf-8", "surrogatepass")
        rest = self.model_dump_json(exclude={"workflow"}).encode("utf-8", "surrogatepass")
        return rest[:-1] + b',"workflow":' + workflow + b"}"


@dataclasses.dataclass
class JournalState:
    """What a journal says: the run, and how far it came."""

    header: JournalHeader
    ended: dict[str, TaskRun] = dataclasses.field(default_factory=dict)
    """Task id to how it ended last."""
    failed_calls: dict[str, tuple[Attempt, ...]] = dataclasses.field(default_factory=dict)
    """Task id to the calls that failed. One that ran at a kill is not among them: it is made again under its number."""
    running: set[str] = dataclasses.field(default_factory=set)
    """The tasks that had begun and not ended at the last line."""
    clock_s: float = 0.0
    """Seconds of the run at the last line: a resumption's clock goes on from there."""
    resumed: int = 0
    """How often the run was resumed."""
    over: str | None = None
    """The run's status where it came to its end; None where it was killed, or still runs."""

    def call_failed(self, task_id: str, attempt: Attempt) -> None:
        """A call of a task has failed: whatever came of it before, it is not finished."""
        self.ended.pop(task_id, None)
        self.failed_calls[task_id] = (*self.failed_calls.get(task_id, ()), attempt)

    def rebudget(self, fields: Mapping[str, Any]) -> None:
        """Put these fields in the place of the budget's. Raises ValueError where they are none."""
        policies = self.header.policies
        budget = BudgetPolicy.model_validate({**policies.budget.model_dump(), **fields})
        self.header = self.header.model_copy(update={"policies": policies.model_copy(update={"budget": budget})})

    @property
    def finished(self) -> dict[str, TaskRun]:
        """The tasks that are not run again: those whose output the journal holds."""
        return {task_id: run for task_id, run in self.ended.items() if run.status == "succeeded"}


class Journal(Protocol):
    """Where a run writes what has happened before it lets anybody rely on it."""

    def write(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Keep the entries, all or none. Raises OSError where that is not possible."""
        ...


@dataclasses.dataclass
class MemoryJournal:
    """Keeps the lines in memory: for tests, and for runs that need not outlive their process."""

    lines: list[bytes] = dataclasses.field(default_factory=list)

    def write(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Keep the entries."""
        self.lines += map(encode, entries)


class FileJournal:
    """The journal of one run in a file that is locked while the run runs."""

    def __init__(self, path: pathlib.Path, descriptor: int, *, fsync: bool = False) -> None:
        self.path = path
        self._descriptor: int | None = descriptor
        self._fsync = fsync

    @classmethod
    def create(cls, folder: str | os.PathLike[str], header: JournalHeader) -> FileJournal:
        """The journal of a new run, `FOLDER/RUN_ID.jsonl`, which only the user may read.

        It has its name only when the header is in it: a start that is killed leaves a `RUN_ID.jsonl.new`, which is no
        journal and is written over.

        Args:
            folder: made where it is missing.
            header: written at once. Where it says `fsync`, every write and the file's name are forced to the disk: a
                loss of power loses nothing then, at the price of about a millisecond a write.

        Raises:
            JournalError: there is a journal of that run already.
            OSError: it cannot be written.
        """
        path = journal_path(folder, header.run_id)
        begun = f"{path}.new"
        try:
            descriptor = os.open(begun, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(begun, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        journal = cls(pathlib.Path(begun), descriptor, fsync=header.fsync)
        try:
            _lock(descriptor, path)  # whoever begins a run of this id at the same time is refused
            if path.exists():
                raise JournalError(f"{path}: there is a run of that id already; resume it, or give another id")
            if os.fstat(descriptor).st_size:  # left by a start that was killed
                # Never without need: ext4 writes a file that was truncated back to the disk when it is closed.
                os.ftruncate(descriptor, 0)
            journal._write(b'{"begin":' + header.as_json() + b"}\n")
            os.rename(begun, path)
            journal.path = path
            if header.fsync:
                sync_folder(path.parent)
        except JournalBusyError:
            journal.close()
            raise
        except BaseException:
            journal.remove()
            raise
        return journal

    @classmethod
    def reopen(cls, folder: str | os.PathLike[str], run_id: str) -> tuple[FileJournal, JournalState]:
        """The journal of a run that was killed or ended, and what it says. A torn last line is cut off.

        Raises:
            JournalBusyError: the run still runs.
            JournalError: there is no such journal, or it is damaged.
        """
        path = journal_path(folder, run_id)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND)
        except FileNotFoundError:
            raise JournalError(f"no journal of run {run_id!r} at {path}") from None
        journal = cls(path, descriptor)
        try:
            _lock(descriptor, path)
            state, whole = _read(path)
            if os.fstat(descriptor).st_size > whole:
                os.ftruncate(descriptor, whole)
            journal._fsync = state.header.fsync
        except BaseException:
            journal.close()
            raise
        return journal, state

    def write(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Write the entries as lines, all or none. Raises OSError (disk full, …)."""
        self._write(b"".join(map(encode, entries)))

    def close(self) -> None:
        """Close the file and give the lock back. Safe to call twice."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)

    def remove(self) -> None:
        """Delete the file, which nobody needs once the run has succeeded and its record is written."""
        self.path.unlink(missing_ok=True)
        self.close()

    def _write(self, lines: bytes) -> None:
        if self._descriptor is None:
            raise JournalError(f"{self.path}: the journal is closed")
        written = os.write(self._descriptor, lines)
        if written < len(lines):
            self._write_rest(self._descriptor, lines, written)
        if self._fsync:
            os.fsync(self._descriptor)

    @staticmethod
    def _write_rest(descriptor: int, lines: bytes, written: int) -> None:
        """Go on after a short write; where that fails too, take back what was written of the lines."""
        before = os.fstat(descriptor).st_size - written
        try:
            while written < len(lines):
                written += os.write(descriptor, lines[written:])
        except OSError:
            os.ftruncate(descriptor, before)
            raise


def journal_path(folder: str | os.PathLike[str], run_id: str) -> pathlib.Path:
    """Where the journal of a run is. Raises JournalError for an id that is no file name."""
    if not run_id or run_id.startswith(".") or os.path.basename(run_id) != run_id:
        raise JournalError(f"{run_id!r} is no run id")
    return pathlib.Path(folder) / f"{run_id}.jsonl"


def read_journal(folder: str | os.PathLike[str], run_id: str) -> JournalState:
    """What the journal of a run says; the run may be running. Raises JournalError."""
    path = journal_path(folder, run_id)
    if not path.is_file():
        raise JournalError(f"no journal of run {run_id!r} at {path}")
    return _read(path)[0]


def journalled_runs(folder: str | os.PathLike[str]) -> list[str]:
    """The ids of the runs that have a journal in the folder, oldest first."""
    return sorted(path.stem for path in pathlib.Path(folder).glob("*.jsonl"))


def is_running(folder: str | os.PathLike[str], run_id: str) -> bool:
    """Whether a process holds the run's journal; not where it has none (any more)."""
    if fcntl is None:
        raise NotImplementedError("this system has no file locks to tell a running run by")
    try:
        with journal_path(folder, run_id).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def sync_folder(folder: pathlib.Path) -> None:
    """Force the names of new files in a folder to the disk, where the system has that."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


_EXACT = frozenset({str, int, bool, type(None)})


def encode(entry: Mapping[str, Any]) -> bytes:
    """An entry as a line. NaN and infinities stay what they are, so that a resumed run sees what the first one saw."""
    ended = entry.get("ended")
    if ended is not None and _EXACT.issuperset(map(type, ended["outputs"].values())):
        try:
            return model_json(entry) + b"\n"
        except (TypeError, ValueError):  # pydantic may be able to write it
            pass
    try:
        return pydantic_core.to_json(entry, inf_nan_mode="constants") + b"\n"
    except (pydantic_core.PydanticSerializationError, UnicodeEncodeError):  # a lone surrogate has no UTF-8
        return json.dumps(entry, default=_fields).encode("ascii") + b"\n"


def _fields(model: Any) -> dict[str, Any]:
    if isinstance(model, BaseModel):
        return model.model_dump()
    raise TypeError(f"{type(model).__name__} is not JSON")


def _lock(descriptor: int, path: pathlib.Path) -> None:
    if fcntl is None:
        return
    for left in (4, 3, 2, 1, 0):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if not left:
                raise JournalBusyError(f"{path}: its run is running; wait for its end, or stop it") from None
            time.sleep(0.02)  # somebody may only be looking whether it runs, which takes no time


def _read(path: pathlib.Path) -> tuple[JournalState, int]:
    """What the journal says, and how many of its bytes are whole lines."""
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    lines = content[:whole].split(b"\n")[:-1]
    if not lines:
        raise JournalError(f"{path}: the run was killed before it began; start it anew")
    state: JournalState | None = None
    for number, line in enumerate(lines, start=1):
        try:
            ((kind, value),) = json.loads(line).items()
            state = _taken_in(state, kind, value)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            reason = " ".join(str(error).split())
            raise JournalError(f"{path}, line {number}: is damaged: {reason[:300]}") from error
    assert state is not None
    return state, whole


def _taken_in(state: JournalState | None, kind: str, value: Any) -> JournalState:
    if state is None:
        if kind != "begin":
            raise ValueError(f"a journal begins with `begin`, this one with {kind!r}")
        version = value.get("version")
        if version != JOURNAL_VERSION:
            raise ValueError(f"its version is {version!r}; this package reads {JOURNAL_VERSION}")
        return JournalState(JournalHeader.model_validate(value))
    if kind == "started":
        state.running.add(value["task"])
        state.clock_s = max(state.clock_s, value["at_s"])
    elif kind == "called":
        attempt = Attempt.model_validate(value["attempt"])
        state.call_failed(value["task"], attempt)
        state.clock_s = max(state.clock_s, attempt.started_s + attempt.duration_s)
    elif kind == "ended":
        run = TaskRun.model_validate(value)
        state.ended[run.task] = run
        state.running.discard(run.task)
        state.failed_calls[run.task] = tuple(a for a in run.attempts if a.error is not None)  # of all lives
        state.clock_s = max(state.clock_s, run.started_s + run.duration_s)
    elif kind == "resumed":
        state.resumed += 1
        if "budget" in value:
            state.rebudget(value["budget"])
        state.running.clear()
        state.over = None
    elif kind == "over":
        state.over = value["status"]
        state.clock_s = max(state.clock_s, value["at_s"])
    else:
        raise ValueError(f"{kind!r} is no entry of a journal")
    return state
