"""Tools on files of any kind: archives and checksums."""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from pathlib import Path, PurePath
from typing import Any

from orchestai_jax.workers.local_tool import ToolCall
from orchestai_jax.workers.worker import WorkerError

MAX_ARCHIVE_BYTES = 2_000_000_000
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""Date of every archive member: equal files give equal archives."""


def zip_files_deflate(call: ToolCall) -> dict[str, Any]:
    """A ZIP archive of the files, each once, under its own name (numbered where two are called the same)."""
    paths = list(dict.fromkeys(call.file(name) for name in ("first", "second", "third") if call.given(name)))
    size = sum(path.stat().st_size for path in paths)
    if size > MAX_ARCHIVE_BYTES:
        raise WorkerError(f"the files have {size} bytes together; at most {MAX_ARCHIVE_BYTES} are packed")

    def write(target: Path) -> None:
        taken: set[str] = set()
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
            for path in paths:
                name, number = path.name, 2
                while name in taken:
                    name, number = f"{path.stem} ({number}){path.suffix}", number + 1
                taken.add(name)
                info = zipfile.ZipInfo(name, _EPOCH)
                info.compress_type = zipfile.ZIP_DEFLATED
                info.external_attr = 0o644 << 16
                info.file_size = path.stat().st_size
                with path.open("rb") as source, archive.open(info, "w") as member:
                    shutil.copyfileobj(source, member, 1 << 20)

    label = PurePath(call.string("name")).name.removesuffix(".zip") or "archive"
    return {"archive": call.write(".zip", write, label=label)}


def checksum_file_hashlib(call: ToolCall) -> dict[str, Any]:
    """The digest of the file in hexadecimal."""
    digest = hashlib.new(call.string("algorithm"), usedforsecurity=False)
    with call.file("file").open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return {"checksum": digest.hexdigest()}
