"""The seal of a checkpoint: which files it consists of, their checksums, and what wrote them."""

from __future__ import annotations

import asyncio
import datetime
import hashlib
import importlib.metadata
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import orbax.checkpoint as ocp

from orchestai_jax.checkpoint.errors import CheckpointError

FORMAT = "orchestai-checkpoint"
FORMAT_VERSION = 1
"""Raised whenever an older reader would misread; older versions are then migrated here or refused with the reason."""
MANIFEST = "manifest.json"
_LIBRARIES = ("orchestai-jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
# Orbax writes these after the manifest is made. Nothing is read from them.
_UNSEALED = frozenset({"_CHECKPOINT_METADATA", "commit_success.txt", MANIFEST})


def seal(folder: pathlib.Path, step: int) -> None:
    """Flush every file to disk, then write the manifest of a checkpoint that is still under its temporary name."""
    files: dict[str, dict[str, Any]] = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder).as_posix()
        if path.name not in _UNSEALED:
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
        json.dump(manifest, file, indent=1)
        file.flush()
        os.fsync(file.fileno())


def read_manifest(folder: pathlib.Path) -> dict[str, Any]:
    """The manifest of a checkpoint folder.

    Raises CheckpointError where there is none, it is damaged, or its format is another or a newer one.
    """
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise CheckpointError(f"{folder}: no checkpoint of orchestai (it has no {MANIFEST})") from None
    except ValueError as error:
        raise CheckpointError(f"{path}: damaged ({error}); use another checkpoint of the run") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise CheckpointError(f"{path}: not a manifest of {FORMAT}")
    version = manifest.get("format_version")
    if version != FORMAT_VERSION:
        newer = isinstance(version, int) and version > FORMAT_VERSION
        remedy = (
            "upgrade orchestai-jax to read it" if newer else "train again, or read it with the release that wrote it"
        )
        raise CheckpointError(f"{path}: format version {version!r}, this release reads {FORMAT_VERSION}; {remedy}")
    if not isinstance(manifest.get("files"), dict) or not isinstance(manifest.get("step"), int):
        raise CheckpointError(f"{path}: damaged (files or step missing); use another checkpoint of the run")
    return manifest


def verify(folder: pathlib.Path, manifest: Mapping[str, Any]) -> None:
    """Compare every file with its checksum. Raises CheckpointError naming the first that is missing or differs."""
    remedy = "use another checkpoint of the run"
    for name, expected in manifest["files"].items():
        path = folder / name
        try:
            size = path.stat().st_size
        except OSError:
            raise CheckpointError(f"{path}: missing; the checkpoint is damaged, {remedy}") from None
        if size != expected["bytes"]:
            raise CheckpointError(
                f"{path}: {size} bytes where {expected['bytes']} were written; the checkpoint is damaged, {remedy}"
            )
        if _digest(path) != expected["sha256"]:
            raise CheckpointError(f"{path}: its checksum differs; the checkpoint is damaged, {remedy}")


def _digest(path: pathlib.Path, *, flush: bool = False) -> str:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        if flush:
            os.fsync(file.fileno())
    return digest


class SealedPath(ocp.path.atomicity.AtomicRenameTemporaryPath):
    """Orbax's temporary folder, sealed just before the rename that makes the checkpoint visible."""

    async def finalize(self) -> None:
        """Write the manifest (of the step's folder; its items are renamed as they are), then rename."""
        final = pathlib.Path(self.get_final())
        if final.name.isdigit():
            await asyncio.to_thread(seal, pathlib.Path(self.get()), int(final.name))
        await super().finalize()
        if final.name.isdigit():
            await asyncio.to_thread(_flush_folder, final.parent)


def _flush_folder(folder: pathlib.Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
