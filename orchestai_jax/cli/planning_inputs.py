"""What plan, run and evaluate take alike: the instruction, the planner, the catalog, the preference."""

from __future__ import annotations

import dataclasses
import pathlib
import sys
import tempfile
from typing import TYPE_CHECKING, Annotated

import typer

from orchestai_jax.cli.errors import WrongUseError
from orchestai_jax.cli.garbage import nothing_collected

if TYPE_CHECKING:
    from orchestai_jax.config import Preference
    from orchestai_jax.planner import Planner
    from orchestai_jax.workflow import Catalog

MAX_INSTRUCTION = 32_768
"""Characters of an instruction. What is longer is a document, not an instruction."""

_FEW_DESCRIPTIONS = 500
"""So many descriptions are encoded without a word: it takes seconds."""
_BATCH = 32
"""Descriptions that the planner encodes at once."""

CatalogOption = Annotated[
    pathlib.Path | None,
    typer.Option("--catalog", metavar="FILE", help="Task types and workers to plan over; default: the planner's own."),
]
GraphOption = Annotated[
    pathlib.Path | None,
    typer.Option("--graph", metavar="FILE", help="Tool graph that goes with --catalog (TaskBench's graph_desc.json)."),
]
PreferOption = Annotated[
    str | None,
    typer.Option(
        "--prefer",
        metavar="PREFERENCE",
        help="balanced, quality, fast, cheap, or weights such as success=1,cost=0.2,latency=0.",
    ),
]
PLANNER = typer.Option("--planner", metavar="PLANNER", help="Workdir or checkpoint folder of a planner.")
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else on stdout.")]


def read_instruction(text: str) -> str:
    """The instruction: `text`, or what stdin holds where it is `-`. Raises WrongUseError for what is no instruction."""
    if text == "-":
        try:
            text = sys.stdin.buffer.read(4 * MAX_INSTRUCTION + 1).decode("utf-8")
        except UnicodeDecodeError as error:
            raise WrongUseError(
                f"stdin is not UTF-8 (byte {error.start + 1}); send the instruction as UTF-8"
            ) from error
    if not text.strip():
        raise WrongUseError('the instruction is empty; say what is to be done, such as "summarize notes.txt"')
    if len(text) > MAX_INSTRUCTION:
        raise WrongUseError(
            f"the instruction has more than {MAX_INSTRUCTION} characters; put the long text in a file and name the file"
        )
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise WrongUseError("the instruction is not valid UTF-8; give it as UTF-8")
    return text.strip()


def open_planner(folder: pathlib.Path) -> Planner:
    """The trained planner in a workdir or checkpoint folder, its compiled programs kept on disk between commands."""
    if not folder.is_dir():
        raise WrongUseError(
            f"no planner folder at {folder}; give a workdir or checkpoint folder (`orchestai quickstart` makes one)"
        )
    with nothing_collected():
        from orchestai_jax.planner import Planner

        planner = Planner.from_checkpoint(folder)
    planner.progress = _tell_progress
    return planner


def _tell_progress(done: int, total: int) -> None:
    """A line on stderr at every tenth of a large catalog."""
    step = max(total // 10, _FEW_DESCRIPTIONS)
    if total > _FEW_DESCRIPTIONS and (done == total or done % step < _BATCH):
        print(f"encoding the catalog's descriptions: {done}/{total}", file=sys.stderr, flush=True)


def read_catalog(catalog: pathlib.Path | None, graph: pathlib.Path | None) -> Catalog | None:
    """The catalog of `--catalog` and `--graph`; None where neither is given."""
    if catalog is None:
        if graph is not None:
            raise WrongUseError("--graph goes with --catalog; give both or neither")
        return None
    from orchestai_jax.workflow import load_catalog

    return load_catalog(catalog, graph)


@dataclasses.dataclass(frozen=True)
class PlanningOptions:
    """What is planned over, and for whom: `--catalog`, `--graph`, `--prefer`."""

    catalog: CatalogOption = None
    graph: GraphOption = None
    prefer: PreferOption = None

    def read_catalog(self) -> Catalog | None:
        """The catalog; None where none is given."""
        return read_catalog(self.catalog, self.graph)

    def read_preference(self) -> Preference | None:
        """The preference; None where none is given."""
        if self.prefer is None:
            return None
        from orchestai_jax.config import Preference

        return Preference.parse(self.prefer)


def prove_writable(path: pathlib.Path, option: str) -> None:
    """Raise WrongUseError, before any work is done, where a file that is to be written at its end cannot be.

    The folder is made where it is missing, the file is not: a command that fails later leaves no empty one behind.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not by making the file and removing it: another command may be appending its record to it.
        with path.open("ab") if path.exists() else tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise WrongUseError(f"cannot write {path}: {error.strerror}; choose another {option}") from error
