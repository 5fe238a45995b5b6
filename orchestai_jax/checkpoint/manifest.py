"""The seal of a checkpoint: which files it consists of, their checksums, and what wrote them."""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from orchestai_jax.checkpoint.errors import CheckpointDamagedError, CheckpointError
from orchestai_jax.checkpoint.migrations import OLDEST_READ

FORMAT = "orchestai-checkpoint"
FORMAT_VERSION = 2
"""Raised whenever an older reader would misread; older versions are read through migrations.py.

1: until November 2026. 2: the manifest seals itself and every other file; `skipped` in training states, hooks' data.
"""
MANIFEST = "manifest.json"
_LIBRARIES = ("orchestai-jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
NOTE = "commit_success.txt"
"""Orbax's note that it has ended, which nobody reads; it holds the folder's path and is removed."""
_SEAL = "seal"
_BLANK = "0" * 64


def seal(folder: pathlib.Path, step: int) -> None:
    """Flush every file to disk, then write the manifest of a checkpoint that is still under its temporary name."""
    files: dict[str, dict[str, Any]] = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        if path.name == NOTE:
            path.unlink()
        elif path.name != MANIFEST:
            name = path.relative_to(folder).as_posix()
            files[name] = {"sha256": _digest(path, flush=True), "bytes": path.stat().st_size}
    manifest = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "step": step,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "libraries": {name: importlib.metadata.version(name) for name in _LIBRARIES},
        "files": files,
    }
    with (folder / MANIFEST).open("w", encoding="utf-8") as file:
        file.write(sealed_text(manifest))
        file.flush()
        os.fsync(file.fileno())


def sealed_text(manifest: Mapping[str, Any]) -> str:
    """The manifest as JSON whose `seal` is the SHA-256 of this very text with 64 zeros in the seal's place."""
    text = json.dumps({**manifest, _SEAL: _BLANK}, indent=1)
    return text.replace(_BLANK, hashlib.sha256(text.encode()).hexdigest())


def read_manifest(folder: pathlib.Path) -> dict[str, Any]:
    """The manifest of a checkpoint folder.

    Raises CheckpointError where there is none, it is damaged, or its format is another or a newer one.
    """
    path = folder / MANIFEST
    remedy = "use another checkpoint of the run"
    try:
        text = path.read_text(encoding="utf-8")
        manifest = json.loads(text)
    except OSError:
        raise CheckpointDamagedError(f"{folder}: no checkpoint of orchestai (it has no {MANIFEST})") from None
    except ValueError as error:
        raise CheckpointDamagedError(f"{path}: damaged ({error}); {remedy}") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise CheckpointDamagedError(f"{path}: not a manifest of {FORMAT}, or damaged; {remedy}")
    version = manifest.get("format_version")
    if not isinstance(version, int) or not OLDEST_READ <= version <= FORMAT_VERSION:
        newer = isinstance(version, int) and version > FORMAT_VERSION
        remedy = (
            "upgrade orchestai-jax to read it" if newer else "train again, or read it with the release that wrote it"
        )
        raise CheckpointError(
            f"{path}: format version {version!r}, this release reads {OLDEST_READ} to {FORMAT_VERSION}; {remedy}"
        )
    if version > 1 or _SEAL in manifest:  # a damaged version number must not turn the check off
        _check_seal(path, text, manifest, remedy)
    if not isinstance(manifest.get("files"), dict) or not isinstance(manifest.get("step"), int):
        raise CheckpointDamagedError(f"{path}: damaged (files or step missing); {remedy}")
    return manifest


def _check_seal(path: pathlib.Path, text: str, manifest: Mapping[str, Any], remedy: str) -> None:
    found = manifest.get(_SEAL)
    if not isinstance(found, str) or len(found) != len(_BLANK):
        raise CheckpointDamagedError(f"{path}: damaged (its seal is missing); {remedy}")
    if hashlib.sha256(text.replace(found, _BLANK).encode()).hexdigest() != found:
        raise CheckpointDamagedError(f"{path}: its own checksum differs; the checkpoint is damaged, {remedy}")


def verify(folder: pathlib.Path, manifest: Mapping[str, Any]) -> None:
    """Compare every file with its checksum. Raises CheckpointError naming the first that is missing or differs."""
    remedy = "use another checkpoint of the run"
    for name, expected in manifest["files"].items():
        path = folder / name
        try:
            size = path.stat().st_size
        except OSError:
            raise CheckpointDamagedError(f"{path}: missing; the checkpoint is damaged, {remedy}") from None
        if size != expected["bytes"]:
            raise CheckpointDamagedError(
                f"{path}: {size} bytes where {expected['bytes']} were written; the checkpoint is damaged, {remedy}"
            )
        if _digest(path) != expected["sha256"]:
            raise CheckpointDamagedError(f"{path}: its checksum differs; the checkpoint is damaged, {remedy}")


def _digest(path: pathlib.Path, *, flush: bool = False) -> str:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        if flush:
            os.fsync(file.fileno())
    return digest
