"""Tools on files of any kind: archives, checksums, reading and writing."""

from __future__ import annotations

import csv
import hashlib
import re
import shutil
import zipfile
import zlib
from pathlib import Path, PurePath
from typing import Any

from orchestai_jax.workers.local_tool import TEXT_SUFFIXES, ToolCall, read_text
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


def list_archive_zip(call: ToolCall) -> dict[str, Any]:
    """A CSV of an archive's members: name, bytes, packed bytes, date."""
    with _open_archive(call) as archive:
        members = [info for info in archive.infolist() if not info.is_dir()]
    rows = [[m.filename, m.file_size, m.compress_size, "{:04}-{:02}-{:02}".format(*m.date_time[:3])] for m in members]

    def write(path: Path) -> None:
        with path.open("w", encoding="utf-8", errors="replace", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([("name", "bytes", "packed", "date"), *rows])

    return {"table": call.write(".csv", write)}


def unpack_file_zip(call: ToolCall) -> dict[str, Any]:
    """One member of an archive as a file of its own; its folders within the archive are left out of the name."""
    with _open_archive(call) as archive:
        members = {info.filename: info for info in archive.infolist() if not info.is_dir()}
        wanted = call.string("member")
        found = [name for name in members if not wanted or name == wanted or PurePath(name).name == wanted]
        if len(found) != 1:
            what = f"no member {wanted!r}" if wanted and not found else f"{len(found)} members that could be meant"
            raise WorkerError(f"the archive has {what}; member is one of {', '.join(list(members)[:20]) or 'none'}")
        info = members[found[0]]
        if info.file_size > MAX_ARCHIVE_BYTES:
            raise WorkerError(f"{info.filename!r} has {info.file_size} bytes; at most {MAX_ARCHIVE_BYTES} are unpacked")
        if info.flag_bits & 1:
            raise WorkerError(f"{info.filename!r} is encrypted")

        def write(path: Path) -> None:
            with archive.open(info) as source, path.open("wb") as target:
                written = 0
                while block := source.read(1 << 20):
                    written += len(block)
                    if written > info.file_size:  # a forged size: what unpacks endlessly ends here
                        raise WorkerError(f"{info.filename!r} is larger than the archive says")
                    target.write(block)

        name = PurePath(info.filename)
        suffix = name.suffix.lower() if re.fullmatch(r"\.\w{1,10}", name.suffix) else ".bin"
        try:
            return {"file": call.write(suffix, write, label=name.stem or "member")}
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            raise WorkerError(f"{info.filename!r} cannot be unpacked: {error}") from error


def read_file_text(call: ToolCall) -> dict[str, Any]:
    """The content of a text file, as text that other tasks take: UTF-8, or UTF-16 with its mark."""
    return {"text": read_text(call.file("file"), str(call.arguments["file"]))}


def write_file_text(call: ToolCall) -> dict[str, Any]:
    """A text file with the ending that its name says; it appears in the output folder, whatever folder the name has."""
    name = PurePath(call.string("name"))
    suffix = name.suffix.lower() or ".txt"
    if suffix not in TEXT_SUFFIXES:
        raise WorkerError(f"name must end in one of {', '.join(sorted(TEXT_SUFFIXES))}, not {suffix!r}")
    text = call.text("text")
    return {"file": call.write(suffix, lambda path: path.write_bytes(text.encode("utf-8", "replace")), name.stem)}


def _open_archive(call: ToolCall) -> zipfile.ZipFile:
    path = call.file("archive")
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise WorkerError(f"{path.name!r} is not a readable ZIP archive: {error}") from error
