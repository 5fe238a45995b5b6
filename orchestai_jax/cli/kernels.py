"""`orchestai kernels`: what runs on this machine, measure it, and keep what was measured."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import TYPE_CHECKING, Annotated

import typer

from orchestai_jax.cli.errors import WrongUseError
from orchestai_jax.cli.planning_inputs import JsonOption

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestai_kernels.dispatch import Op
    from orchestai_kernels.records import Entry
    from orchestai_kernels.shapes import NamedShape
    from orchestai_kernels.tuning import SearchPolicy

OpOption = Annotated[
    list[str] | None, typer.Option("--op", metavar="OP", help="Only this op; may be given more than once.")
]
ShapeOption = Annotated[
    list[str] | None, typer.Option("--shape", metavar="NAME", help="Only this named shape of the op.")
]
ModelOption = Annotated[
    pathlib.Path | None,
    typer.Option(
        "--model", metavar="CONFIG", help="Shapes of this language model (YAML, or a folder with config.json)."
    ),
]
RecordsOption = Annotated[
    pathlib.Path | None,
    typer.Option("--records", metavar="DIR", help="Folder of the tuned records; else those of the package."),
]
RepeatsOption = Annotated[int, typer.Option("--repeats", metavar="N", min=1, help="Timed runs of each trial.")]


def register(app: typer.Typer) -> None:
    """Add the verb group to the command."""
    group = typer.Typer(no_args_is_help=True, help="List, tune and time the kernels.", rich_markup_mode=None)
    group.command(name="list", short_help="Say which implementations run on this machine, and why not.")(list_kernels)
    group.command(name="tune", short_help="Measure implementations and tiles, and keep the record.")(tune)
    group.command(name="bench", short_help="Time every implementation that runs here.")(bench)
    app.add_typer(group, name="kernels")


def list_kernels(op: OpOption = None, records: RecordsOption = None, as_json: JsonOption = False) -> None:
    """Say for each op which implementations run on this machine and why the others do not, and what was measured.

    \b
    Examples:
      orchestai kernels list
      orchestai kernels list --op attention --json
    """
    from orchestai_kernels.dispatch import overridden, platform
    from orchestai_kernels.records import device_name
    from orchestai_kernels.tuning import listing

    with overridden(records=records):
        rows = listing(op or ())
    if as_json:
        found = {"device": device_name(), "platform": platform(), "kernels": [dataclasses.asdict(row) for row in rows]}
        typer.echo(json.dumps(found, indent=2))
        return
    from rich.table import Table

    from orchestai_jax.cli.console import open_console

    table = Table(
        "op", "implementation", "here", "fastest in", title=f"kernels on {device_name()}", title_justify="left"
    )
    for row in rows:
        measured = f"{row.fastest} of {row.records} records" if row.records else "not measured"
        stale = f", {row.stale} of other source" if row.stale else ""
        here = "runs" if row.runs else str(row.why_not)
        table.add_row(row.op, row.implementation, here, measured + stale if row.runs else "")
    open_console().print(table, markup=False)


def tune(
    op: OpOption = None,
    shape: ShapeOption = None,
    model: ModelOption = None,
    records: RecordsOption = None,
    repeats: RepeatsOption = 9,
    as_json: JsonOption = False,
) -> None:
    """Measure every implementation with its candidate tiles at the op's named shapes, or at those of a model.

    Trials are compiled in threads and run one at a time; a record keeps every timing, the jax version and a hash of the
    kernels' source. A record of other source is not used any more. Leave the machine alone meanwhile.

    \b
    Examples:
      orchestai kernels tune
      orchestai kernels tune --op attention --shape decode_1k
      orchestai kernels tune --model configs/lm_tinyshakespeare.yaml --records runs/records
    """
    from orchestai_kernels.tuning import tune as search

    chosen, policy = _chosen(op, shape, model, repeats)
    done: dict[str, dict[str, Entry]] = {}

    def progress(name: str, entry: Entry) -> None:
        best, *others = entry.ranked()
        against = (
            f", {others[-1].median_seconds / best.median_seconds:.2f} times faster than the slowest" if others else ""
        )
        config = f" {dict(best.config)}" if best.config else ""
        if not as_json:
            typer.echo(f"{name}: {best.implementation}{config} {_time(best.median_seconds)}{against}")

    for name, (kernel, shapes) in chosen.items():
        done[name] = search(kernel, shapes, folder=records, policy=policy, progress=progress)
    if as_json:
        found = {name: {key: entry.to_json() for key, entry in entries.items()} for name, entries in done.items()}
        typer.echo(json.dumps(found, indent=2))


def bench(
    op: OpOption = None,
    shape: ShapeOption = None,
    model: ModelOption = None,
    records: RecordsOption = None,
    repeats: RepeatsOption = 9,
    as_json: JsonOption = False,
) -> None:
    """Time every implementation that runs here, each with the tiles that it would be given, and mark the chosen one.

    \b
    Examples:
      orchestai kernels bench --op attention
      orchestai kernels bench --model configs/lm_tinyshakespeare.yaml --json
    """
    from orchestai_kernels.dispatch import overridden
    from orchestai_kernels.tuning import bench as measure

    chosen, policy = _chosen(op, shape, model, repeats)
    with overridden(records=records):
        rows = [row for kernel, shapes in chosen.values() for row in measure(kernel, shapes, policy)]
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(row) for row in rows], indent=2))
        return
    from rich.table import Table

    from orchestai_jax.cli.console import open_console

    table = Table("op", "shape", "implementation", "median", "auto")
    for row in rows:
        took = row.note if row.median_seconds is None else _time(row.median_seconds)
        table.add_row(row.op, row.shape, row.implementation, took, "chosen" if row.chosen else "")
    open_console().print(table, markup=False)


def _chosen(
    names: list[str] | None, wanted: list[str] | None, model: pathlib.Path | None, repeats: int
) -> tuple[Mapping[str, tuple[Op, Mapping[str, NamedShape]]], SearchPolicy]:
    """The ops with the shapes to measure. Raises WrongUseError where there are none."""
    from orchestai_kernels.tuning import SearchPolicy, named_shapes, ops

    if wanted and len(names or ()) != 1:
        raise WrongUseError("--shape names a shape of one op: give --op once beside it")
    size = None
    if model is not None:
        from orchestai_jax.language_model.transformer_size import read_transformer_size

        size = read_transformer_size(model)
    found = {name: (op, named_shapes(name, size, wanted or ())) for name, op in ops(names or ()).items()}
    if not any(shapes for _, shapes in found.values()):
        raise WrongUseError(f"nothing to measure: no named shapes of {', '.join(found)}")
    return found, SearchPolicy(repeats=repeats)


def _time(seconds: float) -> str:
    return f"{seconds * 1e6:.1f} us" if seconds < 1e-3 else f"{seconds * 1e3:.2f} ms"
