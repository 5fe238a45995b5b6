"""Text files inside a checkpoint: its JSON records, and the assets (tokenizer, catalog, …) that a planner needs."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import jax
import orbax.checkpoint as ocp

from orchestai_jax.checkpoint.errors import CheckpointError

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\Z")


def check_names(files: Mapping[str, str]) -> None:
    """Raise CheckpointError for a file name that is not a plain name of letters, digits, `_`, `-` and `.`."""
    for name, text in files.items():
        if not _NAME.match(name):
            raise CheckpointError(f"asset {name!r}: the name must be letters, digits, '_', '-' and '.' only")
        if not isinstance(text, str):
            raise CheckpointError(f"asset {name!r}: must be text, it is a {type(text).__name__}")


class TextFilesHandler(ocp.CheckpointHandler):
    """Saves a mapping of file name to text, one UTF-8 file each."""

    def save(self, directory: Any, args: SaveTextFiles) -> None:  # type: ignore[override]
        """Write the files (they are small: this is done before `save` of the checkpoint returns)."""
        if jax.process_index() != 0:  # of several processes one writes
            return
        for name, text in args.files.items():
            (directory / name).write_text(text, encoding="utf-8")

    def restore(self, directory: Any, args: Any = None) -> dict[str, str]:
        """Read every file."""
        del args
        return {path.name: path.read_text(encoding="utf-8") for path in sorted(directory.iterdir())}


@ocp.args.register_with_handler(TextFilesHandler, for_save=True)
@dataclasses.dataclass
class SaveTextFiles(ocp.args.CheckpointArgs):
    """File name to text."""

    files: Mapping[str, str]


@ocp.args.register_with_handler(TextFilesHandler, for_restore=True)
@dataclasses.dataclass
class RestoreTextFiles(ocp.args.CheckpointArgs):
    """Every file of the item."""
