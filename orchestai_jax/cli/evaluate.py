"""`orchestai evaluate`: how well a planner plans the samples of a data file."""

from __future__ import annotations

import enum
import json
import pathlib
from typing import Annotated

import typer

from orchestai_jax.cli.errors import WrongUseError
from orchestai_jax.cli.planning_inputs import (
    CatalogOption,
    GraphOption,
    JsonOption,
    open_planner,
    prove_writable,
    read_catalog,
)


class Format(enum.StrEnum):
    """Formats of data files."""

    taskbench = "taskbench"
    sealtools = "sealtools"
    nestful = "nestful"
    records = "records"
    planning = "planning"


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    app.command(name="evaluate", short_help="Score a planner on a data file.")(evaluate)


def evaluate(
    planner: Annotated[
        pathlib.Path, typer.Argument(metavar="PLANNER", help="Workdir or checkpoint folder of a planner.")
    ],
    data: Annotated[pathlib.Path, typer.Option("--data", metavar="FILE", help="Samples with their gold plans.")],
    data_format: Annotated[Format, typer.Option("--format", help="Format of the data file.")],
    catalog: CatalogOption = None,
    graph: GraphOption = None,
    predictions: Annotated[
        pathlib.Path | None,
        typer.Option("--predictions", metavar="OUT", help="Write each sample's plan to this file (JSON lines)."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Score a planner: node F1, link F1, accuracy, coverage, DAG validity, worker choice, references and values of
    arguments, calibration error, accuracy of the surest half, latency; with intervals.

    With --catalog it plans over those task types, which it may never have seen. Task types of the data that the catalog
    lacks count as missed, with a warning; data that it has nothing of is refused.

    \b
    Examples:
      orchestai evaluate runs/ultratool --data test.jsonl --format taskbench
      orchestai evaluate runs/ultratool --data dev.jsonl --format sealtools --catalog tool.jsonl --json
    """
    if not data.is_file():
        raise WrongUseError(f"no data file at {data}")
    if predictions is not None:
        prove_writable(predictions, "--predictions")
    chosen = read_catalog(catalog, graph)
    opened = open_planner(planner)
    from orchestai_jax.data import load_samples
    from orchestai_jax.evaluation import evaluate_planner

    known = chosen if chosen is not None else opened.catalog
    samples = load_samples(data, data_format.value, known, allow_unknown=True)
    if not samples:
        raise WrongUseError(f"{data} holds no samples; nothing to evaluate")
    report = evaluate_planner(opened, samples, chosen, predictions=predictions)
    if as_json:
        typer.echo(json.dumps(report.as_dict(), indent=2))
        return
    from orchestai_jax.cli.console import open_console

    open_console().print(report.table(f"{planner} on {data.name}"))
