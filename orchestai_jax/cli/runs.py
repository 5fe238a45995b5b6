"""`orchestai runs`: what was run, from the records."""

from __future__ import annotations

import json
import pathlib
from typing import TYPE_CHECKING, Annotated

import typer

from orchestai_jax.cli.errors import WrongUseError
from orchestai_jax.cli.planning_inputs import JsonOption
from orchestai_jax.cli.run import DEFAULT_RECORDS

if TYPE_CHECKING:
    from orchestai_jax.workflow import RunRecord

RecordsOption = Annotated[pathlib.Path, typer.Option("--records", metavar="FILE", help="File of run records.")]


def register(app: typer.Typer) -> None:
    """Add the group of verbs to the command."""
    runs = typer.Typer(
        name="runs", help="Look at the runs that were recorded.", no_args_is_help=True, rich_markup_mode=None
    )
    runs.command(name="list", short_help="List recorded runs.")(list_runs)
    runs.command(name="show", short_help="Show one run.")(show_run)
    app.add_typer(runs)


def list_runs(
    records: RecordsOption = DEFAULT_RECORDS,
    last: Annotated[int, typer.Option("--last", "-n", metavar="N", min=1, help="Show at most the last N runs.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """List recorded runs, the newest last.

    \b
    Examples:
      orchestai runs list
      orchestai runs list --records runs/records.jsonl -n 100 --json
    """
    found = read(records)[-last:]
    if as_json:
        typer.echo(json.dumps([_summary(record) for record in found], indent=2))
        return
    from rich.table import Table

    from orchestai_jax.cli.console import open_console
    from orchestai_jax.cli.run_display import dollars, seconds
    from orchestai_jax.cli.task_tree import printable

    table = Table(box=None, pad_edge=False)
    for column in ("run", "created", "status", "done", "time", "cost", "instruction"):
        table.add_column(column, overflow="fold", no_wrap=column != "instruction")
    for record in found:
        summary = _summary(record)
        table.add_row(
            printable(record.run_id),
            record.created[:19],
            record.status,
            f"{summary['succeeded']}/{summary['tasks']}",
            seconds(record.duration_s),
            dollars(record.cost),
            printable(record.instruction, 60),
        )
    open_console(markup=False).print(table if found else f"no runs in {records}")


def show_run(
    run_id: Annotated[
        str | None,
        typer.Argument(
            metavar="RUN_ID", help="Id of a run or its beginning; default: the last run.", show_default=False
        ),
    ] = None,
    records: RecordsOption = DEFAULT_RECORDS,
    as_json: JsonOption = False,
) -> None:
    """Show one run: what became of every task, its outputs, its time and cost.

    \b
    Examples:
      orchestai runs show
      orchestai runs show 20250131-120000 --json
    """
    record = pick(read(records), run_id, records)
    if as_json:
        typer.echo(record.model_dump_json(indent=2))
        return
    from orchestai_jax.cli.console import open_console
    from orchestai_jax.cli.run_display import record_tree, totals

    console = open_console()
    console.print(record_tree(record))
    console.print(totals(record))


def read(records: pathlib.Path) -> list[RunRecord]:
    """The records of a file; what had to be left out is said on stderr."""
    from orchestai_jax.workflow import read_records

    if not records.exists():
        raise WrongUseError(f"no run records at {records}; `orchestai run` writes them, --records names another file")
    found, problems = read_records(records)
    for problem in problems:
        typer.echo(f"orchestai: {problem}", err=True)
    return found


def pick(found: list[RunRecord], run_id: str | None, records: pathlib.Path) -> RunRecord:
    """The record that `run_id` means. Raises WrongUseError where it means none or several."""
    if not found:
        raise WrongUseError(f"no runs in {records}")
    if run_id is None:
        return found[-1]
    exact = [record for record in found if record.run_id == run_id]
    matching = exact[-1:] or [record for record in found if record.run_id.startswith(run_id)]
    if len(matching) == 1:
        return matching[0]
    if matching:
        ids = ", ".join(record.run_id for record in matching[:5])
        raise WrongUseError(f"{run_id!r} begins {len(matching)} run ids; give more of it: {ids}")
    raise WrongUseError(f"no run {run_id!r} in {records}; `orchestai runs list` shows the ids")


def _summary(record: RunRecord) -> dict[str, object]:
    return {
        "run_id": record.run_id,
        "created": record.created,
        "instruction": record.instruction,
        "status": record.status,
        "tasks": len(record.tasks),
        "succeeded": sum(run.status == "succeeded" for run in record.tasks),
        "duration_s": record.duration_s,
        "cost": record.cost,
    }
