"""`orchestai quickstart`: the whole way once, from synthetic instructions to a report of executed workflows."""

from __future__ import annotations

import enum
import pathlib
from typing import Annotated

import typer


class RequestSet(enum.StrEnum):
    """Sets of hand-written requests: those of `quickstart.REQUEST_SETS`."""

    held_out = "held-out"
    development = "development"


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    app.command(name="quickstart", short_help="Train, plan, run and report, once.")(quickstart)


def quickstart(
    workdir: Annotated[
        pathlib.Path,
        typer.Option("--workdir", metavar="DIR", help="Folder for the planner, the outputs and the report."),
    ] = pathlib.Path("runs/quickstart"),
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Seed of everything random.")] = 0,
    epochs: Annotated[
        int | None,
        typer.Option("--epochs", metavar="N", min=1, help="Train for N epochs; default: the quickstart's own."),
    ] = None,
    requests: Annotated[
        RequestSet,
        typer.Option("--requests", help="Hand-written requests to score: the held-out ones, or those to work with."),
    ] = RequestSet.held_out,
) -> None:
    """Train a planner on the embedded catalog, plan and run real requests on sample files, and write an HTML report.

    Needs no network and no key, and takes some minutes on 2 cores.

    \b
    Examples:
      orchestai quickstart
      orchestai quickstart --workdir runs/second --seed 1
      orchestai quickstart --requests development
    """
    from orchestai_jax.quickstart import run_quickstart

    run_quickstart(workdir, seed=seed, epochs=epochs, requests_name=requests.value)
