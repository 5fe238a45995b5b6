"""Tuned records: what was measured for an op on a device, and whether that still holds.

`measured/DEVICE/OP.json` holds entries, one a key (the bucketed shapes and options of a call). An entry carries the raw
timings of everything that was tried, the jax version, and a hash of the source of each implementation tried. Where one
of these sources has changed, the entry is not used; where only jax has, it is used and a warning says so once a file.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import logging
import pathlib
import platform
from collections.abc import Mapping, Sequence
from typing import Any, Self

import jax

logger = logging.getLogger(__name__)

PACKAGED = pathlib.Path(__file__).parent / "measured"
"""The records that come with the package."""


@dataclasses.dataclass(frozen=True)
class Timing:
    """One implementation with one configuration: how long it took, or why it did not run.

    Invariant: `seconds` is empty exactly where `error` is not None. `median_seconds` of the empty one is infinite.
    """

    implementation: str
    """Its name within the op."""
    config: Mapping[str, Any] | None
    """Fields of its configuration; None where it has none."""
    seconds: tuple[float, ...] = ()
    """Every timed run, in the order of running."""
    error: str | None = None
    """What it said instead of running."""

    @property
    def median_seconds(self) -> float:
        """The middle of the sorted runs."""
        return sorted(self.seconds)[len(self.seconds) // 2] if self.seconds else float("inf")


@dataclasses.dataclass(frozen=True)
class Entry:
    """What was measured for one key. `sources` maps each implementation tried to the hash of its source."""

    key: str
    """Bucketed shapes and options, as the op's `key` writes them."""
    example: str
    """The shapes that were measured, of all those in the bucket."""
    jax_version: str
    """That it was measured with."""
    processor: str
    """Model of the processor or accelerator, and its count."""
    measured: str
    """Date, ISO 8601."""
    sources: Mapping[str, str]
    """Implementation → hash of its source."""
    timings: tuple[Timing, ...]
    """All that was tried."""

    def ranked(self) -> tuple[Timing, ...]:
        """Those that ran, fastest first by the median."""
        return tuple(sorted((t for t in self.timings if t.error is None), key=lambda t: t.median_seconds))

    def to_json(self) -> dict[str, Any]:
        """As the file holds it."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any], where: str) -> Self:
        """From the file's form. Raises ValueError that names `where` and the fields that are missing or unknown."""
        known = {field.name for field in dataclasses.fields(cls)}
        if set(value) != known:
            raise ValueError(f"{where}: an entry holds {sorted(known)}, this one {sorted(value)}")
        timings = []
        for timing in value["timings"]:
            extra = set(timing) - {field.name for field in dataclasses.fields(Timing)}
            if extra or not {"implementation", "config"} <= set(timing):
                raise ValueError(
                    f"{where}: timing with the fields {sorted(timing)}; see orchestai_kernels.records.Timing"
                )
            timings.append(Timing(**{**timing, "seconds": tuple(timing.get("seconds", ()))}))
        return cls(**{**value, "timings": tuple(timings)})


def device_name() -> str:
    """The folder of the default device's records: `nvidia_h100_80gb_hbm3`; for a CPU its architecture, `cpu_x86_64`."""
    kind = jax.devices()[0].device_kind.lower().replace(" ", "_").replace("/", "_")
    return f"cpu_{platform.machine().lower()}" if kind == "cpu" else kind


def source_hash(paths: Sequence[pathlib.Path]) -> str:
    """SHA-256 over those of the files in the given order, line ends made one; the first 16 digits."""
    digest = hashlib.sha256()
    for path in paths:
        state = path.stat()
        digest.update(_file_digest(path, state.st_mtime_ns, state.st_size))
    return digest.hexdigest()[:16]


@functools.lru_cache(maxsize=256)
def _file_digest(path: pathlib.Path, changed: int, size: int) -> bytes:
    """SHA-256 of a file in the state that the other two say; dispatch asks at every call that is not jitted."""
    del changed, size
    return hashlib.sha256(path.read_bytes().replace(b"\r\n", b"\n")).digest()


def record_path(folder: pathlib.Path, device: str, op: str) -> pathlib.Path:
    """Where the record of an op on a device lies."""
    return folder / device / f"{op}.json"


def read_record(path: pathlib.Path) -> dict[str, Entry]:
    """Entries by key; none where there is no file. Raises ValueError that names the file where it cannot be used."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    try:
        entries = [Entry.from_json(value, str(path)) for value in json.loads(text)["entries"]]
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: not a record of timings: {error!r}") from error
    return {entry.key: entry for entry in entries}


def write_record(path: pathlib.Path, op: str, device: str, entries: Mapping[str, Entry]) -> None:
    """Write a record whole, by key; the file is replaced in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"op": op, "device": device, "entries": [entries[key].to_json() for key in sorted(entries)]}
    unfinished = path.with_suffix(".json.tmp")
    unfinished.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    unfinished.replace(path)
    cached_record.cache_clear()


@functools.cache
def cached_record(path: pathlib.Path) -> dict[str, Entry]:
    """`read_record`, once a process and path; says once where the jax version differs."""
    entries = read_record(path)
    others = sorted({entry.jax_version for entry in entries.values()} - {jax.__version__})
    if others:
        logger.warning(
            "%s was measured with jax %s, this is %s: used until measured again (`orchestai kernels tune`)",
            path,
            ", ".join(others),
            jax.__version__,
        )
    return entries


def is_current(entry: Entry, sources: Mapping[str, str]) -> bool:
    """Whether every implementation that the entry compares still has the source that was measured."""
    return all(sources.get(name) == measured for name, measured in entry.sources.items())
