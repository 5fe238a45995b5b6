"""`orchestai workdir`: how far a run has come, and its curves."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import Annotated

import typer

_NEWEST = 5  # validations that a terminal has room for beside the best

WorkdirArgument = Annotated[pathlib.Path, typer.Argument(metavar="DIR", help="Work folder of `orchestai train`.")]


def register(app: typer.Typer) -> None:
    """Add the verb group to the command."""
    group = typer.Typer(no_args_is_help=True, help="Look at a run's work folder.", rich_markup_mode=None)
    group.command(name="status", short_help="Say how far the run has come.")(status)
    group.command(name="plot", short_help="Draw the run's curves.")(plot)
    app.add_typer(group, name="workdir")


def status(
    workdir: WorkdirArgument, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False
) -> None:
    """Print step, epochs, the best validation and one line an epoch.

    \b
    Example:
      orchestai workdir status runs/ultratool
    """
    from orchestai_jax.training.workdir import workdir_status

    found = workdir_status(workdir)
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(found), indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    steps = f"step {found.step}" + (f" of {found.total_steps}" if found.total_steps is not None else "")
    epochs = f"epoch {found.epoch}" + (f" of {found.num_epochs}" if found.num_epochs is not None else "")
    console.print(f"{found.name or workdir}: {found.state}, {steps}, {epochs}", markup=False)
    if found.best_step is not None:
        console.print(f"best {found.best_metric} {found.best_value:.4f} at step {found.best_step}", markup=False)
    if found.validation:
        shown = [
            row for row in found.validation if row["step"] == found.best_step or row in found.validation[-_NEWEST:]
        ]
        if len(shown) < len(found.validation):
            console.print(f"{len(found.validation)} validations, the newest and the best shown (all: --json)")
        names = list(dict.fromkeys(name for row in shown for name in row))
        table = Table("metric")  # a row a metric: there are more of them than a terminal has room for beside each other
        for row in shown:
            table.add_column(f"epoch {row['epoch']}", style="bold" if row["step"] == found.best_step else "")
        for name in names:
            if name != "epoch" and not name.startswith("calibration_"):  # those stand in --json
                table.add_row(name, *(_cell(row.get(name)) for row in shown))
        console.print(table)


def plot(
    workdir: WorkdirArgument,
    out: Annotated[
        pathlib.Path | None, typer.Option("--out", metavar="FILE", help="PNG to write (default: DIR/curves.png).")
    ] = None,
) -> None:
    """Draw losses, validation metrics, gradient norms and the learning rate over the steps as PNG.

    \b
    Example:
      orchestai workdir plot runs/ultratool --out curves.png
    """
    from orchestai_jax.training.curves import plot_curves

    typer.echo(str(plot_curves(workdir, out)))


def _cell(value: object) -> str:
    return "" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)
