"""Made-up instructions that can be run: they name the files of a folder, and ask only for what can be done to these."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping

from orchestai_jax.data.data_error import DataError
from orchestai_jax.data.sample import PlanningSample
from orchestai_jax.data.synthesis import SynthesisConfig, synthesize
from orchestai_jax.data.template_clauses import PoolValue
from orchestai_jax.data.templates import Templates
from orchestai_jax.workflow.catalog import ANY, Catalog, TaskType, types_fit

_ENDINGS: Mapping[str, tuple[str, ...]] = {
    "image": (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"),
    "audio": (".wav", ".flac", ".ogg", ".mp3"),
    "video": (".mp4", ".mov", ".mkv", ".webm"),
    "table": (".csv", ".tsv", ".jsonl", ".parquet", ".xlsx"),
    "text": (".txt", ".md", ".rst"),
    "document": (".html", ".pdf", ".docx"),
}
"""Endings of files by the data type that they hold."""

_FILE_TYPES = frozenset((*_ENDINGS, "file"))
_MOST_FILES = 2000
_ROUNDS = 6
"""Each makes twice as many instructions as the one before."""


def instructions_on_files(
    catalog: Catalog, config: SynthesisConfig, root: str | os.PathLike[str], templates: Templates | None = None
) -> list[PlanningSample]:
    """Like `synthesize`, with the files of a folder as the values of inputs.

    Files of known endings in the folder and the folders in it count, hidden ones and those in `outputs` do not, nor
    names with blanks or quotes, which an instruction could not tell apart. Task types that need files of a kind that is
    neither there nor made by another task type are left out.

    Raises:
      DataError: there are no such files, no task type can use them, or as `synthesize` says.
    """
    files = _files_by_type(pathlib.Path(root))
    if not files:
        raise DataError(f"{root}: holds no file of a known kind, so that no instruction could name one")
    usable = _usable(catalog, files)
    if not usable.task_types:
        raise DataError(f"catalog `{catalog.name}`: no task type can use the files in {root}")
    table = templates or Templates()
    wanted, samples = config.n, []
    kept = {name: clauses for name, clauses in table.task_types.items() if name in usable.index}
    values = {
        **table.values,
        **{kind: tuple(PoolValue(say=f, value=f) for f in names) for kind, names in files.items()},
    }
    table = table.model_copy(update={"task_types": kept, "values": values})
    for _ in range(_ROUNDS):
        made = synthesize(usable, config.model_copy(update={"n": wanted}), table)
        samples = [sample for sample in made if _is_there(sample, usable, files)]
        if len(samples) >= config.n:
            return samples[: config.n]
        wanted *= 2
    raise DataError(
        f"only {len(samples)} instructions of {config.n} name nothing but files in {root}; ask for fewer, or add files"
    )


def _is_there(sample: PlanningSample, catalog: Catalog, files: Mapping[str, list[str]]) -> bool:
    """Whether every file that a sample's plan reads is in the folder; `synthesize` has names of its own for others."""
    for task_type, arguments in zip(sample.task_types, sample.arguments or (), strict=True):
        for port in catalog.task_type(task_type).inputs:
            value = arguments.get(port.name, {}).get("value")
            if value is not None and port.type in _FILE_TYPES and value not in files["file"]:
                return False
    return True


def _files_by_type(root: pathlib.Path) -> dict[str, list[str]]:
    """Data type to names relative to `root`; under `file` all of them."""
    found: dict[str, list[str]] = {}
    every = sorted(p for pattern in ("*", "*/*") for p in root.glob(pattern) if p.is_file())[:_MOST_FILES]
    for path in every:
        name = path.relative_to(root).as_posix()
        hidden = any(part.startswith(".") for part in name.split("/")) or name.startswith("outputs/")
        if hidden or not all(c.isalnum() or c in "._-/" for c in name):
            continue
        kind = next((kind for kind, endings in _ENDINGS.items() if path.suffix.lower() in endings), None)
        if kind is not None:
            found.setdefault(kind, []).append(name)
            found.setdefault("file", []).append(name)
    return found


def _usable(catalog: Catalog, files: Mapping[str, object]) -> Catalog:
    """The catalog with the task types that can be run on files of these types, or on what such tasks make."""
    there = set(files)
    usable: dict[str, TaskType] = {}
    while True:
        more = {
            t.id: t
            for t in catalog.task_types
            if t.id not in usable
            and all(
                port.type not in _FILE_TYPES or any(kind != ANY and types_fit(kind, port.type) for kind in there)
                for port in t.inputs
                if port.must_be_given
            )
        }
        if not more:
            break
        usable |= more
        there |= {port.type for task_type in more.values() for port in task_type.outputs}
    return Catalog(
        name=catalog.name,
        task_types=tuple(t for t in catalog.task_types if t.id in usable),
        links=tuple(link for link in catalog.links if link.source in usable and link.target in usable),
    )
