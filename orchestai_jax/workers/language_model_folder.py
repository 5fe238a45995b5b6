"""What keeps a folder from being a language worker, seen by its files: nothing is loaded, and JAX is not imported."""

from __future__ import annotations

import json
import pathlib

READS_CHARACTERS = (
    "it reads single characters, which makes no language worker; import a published model (docs/workers.md)"
)

_CHECKPOINT = ("", "*/", "checkpoints/*/")
"""Where a checkpoint lies in what may be named: itself, their folder, a work folder."""


def folder_fault(folder: pathlib.Path) -> str | None:
    """Why no language worker can be made of a folder, in one line; None where nothing is seen against it."""
    if not folder.is_dir():
        return f"there is no folder {str(folder)!r} with a language model"
    if (folder / "config.json").is_file():
        tokenizers = [folder / "tokenizer.json"]
        if not tokenizers[0].is_file():
            return f"{folder} has no tokenizer.json"
        if not list(folder.glob("*.safetensors")):
            return f"{folder} has no safetensors"
    else:
        records = [record for where in _CHECKPOINT for record in folder.glob(f"{where}record/metadata.json")]
        if not records:
            return f"{folder} holds no language model: it has neither a config.json nor a checkpoint"
        kinds = {_kind_of(record) for record in records}
        if "language_model" not in kinds:
            return f"{folder} is a checkpoint of {' and '.join(sorted(kinds))}, not of a language model"
        tokenizers = [record.parents[1] / "assets" / "tokenizer.json" for record in records]
    if any(_reads_characters(tokenizer) for tokenizer in tokenizers):
        return f"{folder}: {READS_CHARACTERS}"
    return None


def _kind_of(record: pathlib.Path) -> str:
    try:
        return str(json.loads(record.read_text(encoding="utf-8")).get("kind", "something unnamed"))
    except (OSError, ValueError, AttributeError):
        return "something that cannot be read"


def _reads_characters(tokenizer: pathlib.Path) -> bool:
    """Whether it is the package's tokenizer of single characters. Others are megabytes long, and are not parsed."""
    if not tokenizer.is_file() or tokenizer.stat().st_size > 2_000_000:
        return False
    try:
        content = json.loads(tokenizer.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False  # said when it is loaded
    return isinstance(content, dict) and "format" in content and "characters" in content
