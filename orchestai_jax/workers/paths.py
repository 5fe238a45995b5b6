"""Paths that stay inside a root folder, and output files that appear whole or not at all."""

from __future__ import annotations

import difflib
import hashlib
import os
import re
import stat
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

from orchestai_jax.workers.worker import WorkerContext, WorkerError

MAX_NAME_BYTES = 100
"""Longest part of a file name, in UTF-8 bytes, made of a task id or label (file systems allow 255 for the whole)."""


def resolve_inside(root: Path, name: str) -> Path:
    """The real path of the existing file `name` inside `root`.

    Symbolic links are followed and must stay inside too.

    Raises:
        WorkerError: the name is empty, leaves the root, is hidden or a journal, or is not an existing regular file.
    """
    path = locate(root, name)
    if path is None:
        raise WorkerError(_missing(root, name))
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise WorkerError(f"{name!r} is a folder; give the path of a file in it")
    if not stat.S_ISREG(mode):  # a pipe or device would block the reader for ever
        raise WorkerError(f"{name!r} is not a regular file")
    return path


def locate(root: Path, name: str) -> Path | None:
    """The real path of `name` inside `root`, None where nothing of that name exists.

    Hidden files (`.env`, `.git/config`) and the journals of runs are not for tools: what a plan names comes from
    instructions and from what models say, and these hold keys and the data of other runs.

    Raises:
        WorkerError: the name is empty or not a path, leads out of the root, or to a hidden file or a journal.
    """
    if not name.strip():
        raise WorkerError("an empty file name was given; give a path relative to the root folder")
    if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]+://", name):
        raise WorkerError(f"{name!r} is a web address; local tools read files inside the root folder only")
    real_root = root.resolve()
    try:
        path = (real_root / name).resolve()
        exists = path.exists()
    except (OSError, ValueError, RuntimeError) as error:  # NUL byte, too long a name, a loop of links
        raise WorkerError(f"{_short(name)} is not a usable path ({error})") from error
    if not path.is_relative_to(real_root):
        raise WorkerError(f"{_short(name)} leads out of the root folder; tools stay inside it")
    if not exists:
        return None
    parts = path.relative_to(real_root).parts
    if _hidden(parts):
        raise WorkerError(f"{_short(name)} is hidden (a name that begins with a dot); tools do not read such files")
    if parts[-2:-1] == ("journals",) and path.suffix == ".jsonl":
        raise WorkerError(f"{_short(name)} is the journal of a run; tools do not read those")
    return path


def relative_name(root: Path, path: Path) -> str:
    """`path` as it is written in arguments and outputs: relative to `root`, with forward slashes."""
    return path.resolve().relative_to(root.resolve()).as_posix()


def output_name(task_id: str, label: str, suffix: str) -> str:
    """File name of an output: task id and label (both made safe for file systems), suffix."""
    return f"{_safe(task_id) or 'task'}_{_safe(label)}{suffix}"


def _safe(name: str) -> str:
    safe = re.sub(r"[^\w.-]+", "_", name).lstrip(".")
    while len(safe.encode()) > MAX_NAME_BYTES:
        safe = safe[:-1]
    if safe != name:  # two ids must not share a file because their unsafe characters were replaced
        safe += "-" + hashlib.sha256(name.encode(errors="replace")).hexdigest()[:8]
    return safe


def write_output(
    context: WorkerContext, name: str, write: Callable[[Path], object], wanted: Callable[[], bool] = lambda: True
) -> str:
    """Let `write` fill a temporary file and move it to `name` in the output folder; returns the relative path.

    `wanted` is asked before the move: where it says no (the task was cancelled meanwhile) nothing appears.

    Raises:
        WorkerError: the output folder is outside the root, hidden, or cannot be written.
    """
    root = context.root.resolve()
    folder = (root / context.output_folder).resolve()
    if not folder.is_relative_to(root):
        raise WorkerError(f"the output folder {str(context.output_folder)!r} is outside the root folder")
    if _hidden(folder.relative_to(root).parts):
        raise WorkerError(f"the output folder {str(context.output_folder)!r} is hidden; no task could read its files")
    target = folder / name
    temporary = folder / f".{uuid.uuid4().hex}.part{target.suffix}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:  # a file is in its place
        raise WorkerError(f"cannot make the output folder: {error.strerror or error}") from error
    try:
        write(temporary)
        if not wanted():
            raise WorkerError(f"cancelled before {name!r} was finished")
        os.replace(temporary, target)
    except OSError as error:
        raise WorkerError(f"cannot write {name!r}: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)
    return target.relative_to(root).as_posix()


def _hidden(parts: Sequence[str]) -> bool:
    return any(part.startswith(".") for part in parts)


def _short(name: str) -> str:
    return repr(name if len(name) <= 80 else name[:77] + "...")


def _missing(root: Path, name: str) -> str:
    folder = (root.resolve() / name).parent
    line = f"file not found: {_short(name)} (paths are relative to the root folder)"
    if folder.is_dir():
        names = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
        near = difflib.get_close_matches(Path(name).name, names, n=3, cutoff=0.5)
        if near:
            line += "; did you mean " + " or ".join(repr(n) for n in near) + "?"
    return line
