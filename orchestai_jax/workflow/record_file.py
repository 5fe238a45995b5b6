"""Files of run records: one run a line of JSON, appended as runs end, cut at a size, read back whole."""

from __future__ import annotations

import io
import json
import logging
import os
import pathlib
import re
from typing import Any

import pydantic
import pydantic_core

from orchestai_jax.config.redaction import secret_values
from orchestai_jax.workflow._field_errors import one_line
from orchestai_jax.workflow._redacted_record import holds_secret, redacted
from orchestai_jax.workflow.model_json import model_json
from orchestai_jax.workflow.plain_values import plain
from orchestai_jax.workflow.record import RECORD_VERSION, RecordError, RunRecord

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

MAX_FILE_BYTES = 128 * 2**20
"""A file of records that has grown so large is set aside before the next record is appended."""

_LOG = logging.getLogger(__name__)


def append_record(
    path: str | os.PathLike[str], record: RunRecord, *, max_bytes: int | None = MAX_FILE_BYTES, fsync: bool = True
) -> None:
    """Append a record as one line. Makes the file, and its folder, where they do not exist.

    The values of secrets (environment variables whose names say so) are masked in whatever text the record holds. NaN
    and infinities are written as null, which is what JSON has for them, arrays as lists.

    A torn last line, left by a process that died while writing, is moved to `PATH.torn` with a warning: left in the
    middle it would make the file unreadable. Writers lock each other out (where the system has `flock`).

    Args:
        path: the file, such as `runs/records.jsonl`.
        record: what is appended.
        max_bytes: a file that has reached this size is renamed, to `records.000001.jsonl` and on, and a new one
            begun; `read_records` reads them all. None = never.
        fsync: whether the line is forced to the disk, so that it outlives a loss of power. A process that is killed
            loses nothing either way.

    Raises:
        RecordError: the record holds something that JSON cannot express.
        ValueError: `max_bytes` is below 1.
    """
    if max_bytes is not None and max_bytes < 1:
        raise ValueError(f"max_bytes is {max_bytes}; it must be at least 1, or None for files without a limit")
    path = pathlib.Path(path)
    line = _line(path, record)
    secrets = secret_values()
    if holds_secret(line, secrets):
        line = _line(path, redacted(record, secrets))
    with _open_locked(path, max_bytes) as file:
        last = _unfinished_line(file)
        if last and _is_torn(last):
            torn = path.with_name(path.name + ".torn")
            with torn.open("ab") as kept:
                kept.write(last + b"\n")
            file.truncate(os.fstat(file.fileno()).st_size - len(last))
            _LOG.warning("%s: its last line was torn; moved to %s", path, torn.name)
        elif last:
            line = b"\n" + line
        line += b"\n"
        written = file.write(line)
        while written < len(line):
            written += file.write(line[written:])
        if fsync:
            os.fsync(file.fileno())


def record_files(path: str | os.PathLike[str]) -> list[pathlib.Path]:
    """The files that hold the records of `path`, oldest first: those set aside for their size, then `path` itself."""
    path = pathlib.Path(path)
    aside = re.compile(re.escape(path.stem) + r"\.(\d{6,})" + re.escape(path.suffix))
    numbered = []
    if path.parent.is_dir():
        for file in path.parent.iterdir():
            match = aside.fullmatch(file.name)
            if match:
                numbered.append((int(match[1]), file))
    return [file for _, file in sorted(numbered)] + ([path] if path.exists() else [])


def read_records(path: str | os.PathLike[str]) -> tuple[list[RunRecord], list[str]]:
    """Read a file of run records, and those set aside from it: the records, oldest first, and what was left out.

    A last line that was torn (the process died while writing it, so that it is not whole JSON) is left out and named
    in the second list. Any other line that is not a record raises RecordError naming the line and the field.
    """
    records: list[RunRecord] = []
    problems: list[str] = []
    for file in record_files(path) or [pathlib.Path(path)]:
        _read_file(file, records, problems)
    return records, problems


def latest_records(records: list[RunRecord]) -> list[RunRecord]:
    """One record a run, the newest: a run that ended, was resumed and ended again has written several."""
    return list({record.run_id: record for record in records}.values())


def _read_file(path: pathlib.Path, records: list[RunRecord], problems: list[str]) -> None:
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise RecordError(f"{path}: cannot be read: {error.strerror or error}") from error
    last = max((number for number, line in enumerate(lines, start=1) if line.strip()), default=0)
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


def _line(path: pathlib.Path, record: RunRecord) -> bytes:
    try:
        return model_json(record)
    except (TypeError, ValueError, RecursionError):
        pass
    try:
        return record.__pydantic_serializer__.to_json(record)
    except pydantic_core.PydanticSerializationError:
        # Arrays, or a lone surrogate (undecodable bytes of a command line), which is no UTF-8 but can be escaped.
        try:
            return json.dumps(_finite(plain(record.model_dump(mode="python"))), allow_nan=False).encode("ascii")
        except (TypeError, ValueError, RecursionError) as error:
            raise RecordError(f"{path}: run {record.run_id!r} cannot be written as JSON: {error}") from error


def _open_locked(path: pathlib.Path, max_bytes: int | None) -> io.FileIO:
    """The file, locked (released when it is closed), set aside first where it is too large."""
    while True:
        try:
            file = path.open("ab+", buffering=0)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("ab+", buffering=0)
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX)
            here = os.fstat(file.fileno())
            try:
                there = os.stat(path)
            except FileNotFoundError:
                there = None
            if there is None or not os.path.samestat(here, there):  # another writer set it aside while this one waited
                file.close()
                continue
            if max_bytes is None or here.st_size < max_bytes:
                return file
            newest = record_files(path)[:-1]
            number = 1 + (int(newest[-1].name.removesuffix(path.suffix).rpartition(".")[2]) if newest else 0)
            path.rename(path.with_name(f"{path.stem}.{number:06d}{path.suffix}"))
            file.close()
        except BaseException:
            file.close()
            raise


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
    if version not in range(1, RECORD_VERSION + 1):
        raise RecordError(
            f"schema_version is {version!r}; this version reads 1 to {RECORD_VERSION}: update the package"
        )
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


def _unfinished_line(file: io.FileIO) -> bytes:
    """What stands after the file's last newline."""
    end = os.fstat(file.fileno()).st_size
    if end:
        file.seek(end - 1)
        if file.read(1) == b"\n":  # nearly always
            return b""
    tail = b""
    while end > 0 and b"\n" not in tail:
        start = max(0, end - 65536)
        file.seek(start)
        tail = file.read(end - start) + tail
        end = start
    return tail.rpartition(b"\n")[2]


def _finite(value: Any) -> Any:
    """`value` with NaN and infinities as None."""
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_finite(entry) for entry in value]
    return value
