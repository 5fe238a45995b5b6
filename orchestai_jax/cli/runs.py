"""`orchestai runs`: what was run, from the records, and what is not finished, from the journals."""

from __future__ import annotations

import json
import pathlib
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestai_jax.cli.errors import WrongUseError
from orchestai_jax.cli.planning_inputs import JsonOption
from orchestai_jax.cli.running import (
    DEFAULT_RECORDS,
    ProcessesOption,
    RecordsOption,
    Running,
    TraceOption,
    journals_of,
)

if TYPE_CHECKING:
    from rich.text import Text

    from orchestai_jax.execution import JournalState
    from orchestai_jax.workflow import RunRecord, Task

RunIdArgument = Annotated[
    str | None,
    typer.Argument(metavar="RUN_ID", help="Id of a run or its beginning; default: the last run.", show_default=False),
]


def register(app: typer.Typer) -> None:
    """Add the group of verbs to the command."""
    runs = typer.Typer(
        name="runs", help="Look at the runs that were recorded.", no_args_is_help=True, rich_markup_mode=None
    )
    runs.command(name="list", short_help="List recorded runs.")(list_runs)
    runs.command(name="show", short_help="Show one run.")(show_run)
    runs.command(name="resume", short_help="Go on with a run that was killed or did not succeed.")(resume_run)
    app.add_typer(runs)


def list_runs(
    records: RecordsOption = DEFAULT_RECORDS,
    last: Annotated[int, typer.Option("--last", "-n", metavar="N", min=1, help="Show at most the last N runs.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """List runs, the newest last: those recorded, those running, and those interrupted, which `resume` goes on with.

    \b
    Examples:
      orchestai runs list
      orchestai runs list --records runs/records.jsonl -n 100 --json
    """
    unfinished = read_unfinished(records)
    summaries = {record.run_id: _summary(record) for record in read(records, may_be_none=bool(unfinished))}
    summaries |= {run_id: _journal_summary(state, records) for run_id, state in unfinished.items()}
    found = sorted(summaries.values(), key=lambda summary: str(summary["created"]))[-last:]
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    from rich.table import Table

    from orchestai_jax.cli.console import open_console
    from orchestai_jax.cli.run_display import dollars, seconds
    from orchestai_jax.cli.task_tree import printable

    table = Table(box=None, pad_edge=False)
    for column in ("run", "created", "status", "done", "time", "cost", "instruction"):
        table.add_column(column, overflow="fold", no_wrap=column != "instruction")
    for summary in found:
        table.add_row(
            printable(summary["run_id"]),
            summary["created"][:19],
            summary["status"],
            f"{summary['succeeded']}/{summary['tasks']}",
            seconds(summary["duration_s"]),
            dollars(summary["cost"]),
            printable(summary["instruction"], 60),
        )
    open_console(markup=False).print(table if found else f"no runs in {records}")


def show_run(
    run_id: RunIdArgument = None, records: RecordsOption = DEFAULT_RECORDS, as_json: JsonOption = False
) -> None:
    """Show one run: what became of every task, its outputs, its time and cost.

    \b
    Examples:
      orchestai runs show
      orchestai runs show 20250131-120000 --json
    """
    from orchestai_jax.cli.console import open_console
    from orchestai_jax.cli.run_display import record_tree, totals

    unfinished = read_unfinished(records)
    found = [r for r in read(records, may_be_none=bool(unfinished)) if r.run_id not in unfinished]
    picked = pick([*(r.run_id for r in found), *unfinished], run_id, records)
    state = unfinished.get(picked)
    if state is not None:
        _show_unfinished(state, records, as_json)
        return
    record = next(r for r in found if r.run_id == picked)
    if as_json:
        typer.echo(record.model_dump_json(indent=2))
        return
    console = open_console()
    console.print(record_tree(record))
    console.print(totals(record))


def resume_run(
    run_id: RunIdArgument = None,
    records: RecordsOption = DEFAULT_RECORDS,
    budget: Annotated[
        float | None,
        typer.Option("--budget", metavar="DOLLARS", help="What the whole run may cost; default: as at its beginning."),
    ] = None,
    deadline: Annotated[
        float | None,
        typer.Option(
            "--deadline",
            metavar="SECONDS",
            help="Of the run's clock, which goes on where it stood; default: as at its beginning.",
        ),
    ] = None,
    processes: ProcessesOption = 0,
    trace: TraceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Go on with a run that was killed or cancelled, or that did not succeed.

    Finished tasks (their outputs are in the run's journal) are not run again; everything else is, what failed among it.

    \b
    Examples:
      orchestai runs resume
      orchestai runs resume 20250131-120000-1f3a9c
      orchestai runs resume --deadline 600 --budget 2.50
    """
    from orchestai_jax.execution import journalled_runs, parse_policies, read_journal, resume

    limits = {name: value for name, value in (("cost", budget), ("deadline_s", deadline)) if value is not None}
    allowed = parse_policies({"budget": limits}, "the options").budget if limits else None

    folder = journals_of(records)
    resumable = journalled_runs(folder)
    if run_id is not None and not any(known.startswith(run_id) for known in resumable) and records.exists():
        done = [r.run_id for r in read(records) if r.run_id.startswith(run_id) and r.status == "succeeded"]
        if done:
            raise WrongUseError(f"run {done[-1]} has succeeded; there is nothing to resume")
    picked = pick(resumable, run_id, folder)
    header = read_journal(folder, picked).header
    running = Running(
        picked,
        header.catalog,
        pathlib.Path(header.root),
        records,
        header.max_concurrency,
        processes=processes,
        trace=trace,
        as_json=as_json,
    )
    running.carry_out(
        lambda workers, listen, tracer: resume(
            picked, workers, journal=folder, on_event=listen, records=records, tracer=tracer, budget=allowed
        )
    )


def _show_unfinished(state: JournalState, records: pathlib.Path, as_json: bool) -> None:
    summary = _journal_summary(state, records)
    if as_json:
        ended = [run.model_dump(mode="json") for run in state.ended.values()]
        typer.echo(json.dumps({**summary, "running_tasks": sorted(state.running), "tasks": ended}, indent=2))
        return
    from orchestai_jax.cli.console import open_console
    from orchestai_jax.cli.run_display import ended_label, outcome_lines
    from orchestai_jax.cli.task_tree import task_name, task_tree

    begun = "running" if summary["status"] == "running" else "was running"

    def label(task: Task) -> Text:
        run = state.ended.get(task.id)
        if run is not None:
            return ended_label(task, run)
        word = begun if task.id in state.running else "waiting"
        return task_name(task).append(f"  {word}", style="yellow")

    def details(task: Task) -> list[Text]:
        run = state.ended.get(task.id)
        return [] if run is None else outcome_lines(run, pathlib.Path(state.header.root))

    console = open_console()
    console.print(task_tree(state.header.workflow, label, details))
    how = f"{summary['status']}: {summary['succeeded']} of {summary['tasks']} tasks are finished"
    goes_on = "" if summary["status"] == "running" else f"; `orchestai runs resume {summary['run_id']}` goes on"
    console.print(how + goes_on, markup=False)


def read_unfinished(records: pathlib.Path) -> dict[str, JournalState]:
    """The runs that were killed or still run, by id: their journals have no end. A damaged one is said on stderr."""
    from orchestai_jax.execution import JournalError, journalled_runs, read_journal

    folder = journals_of(records)
    unfinished: dict[str, JournalState] = {}
    for run_id in journalled_runs(folder):
        try:
            state = read_journal(folder, run_id)
        except JournalError as error:
            typer.echo(f"orchestai: {error}", err=True)
            continue
        except FileNotFoundError:  # it has ended in between
            continue
        if state.over is None:
            unfinished[run_id] = state
    return unfinished


def read(records: pathlib.Path, *, may_be_none: bool = False) -> list[RunRecord]:
    """The records of a file, the last of each run; what had to be left out is said on stderr."""
    from orchestai_jax.workflow import latest_records, read_records, record_files

    if not record_files(records):
        if may_be_none:
            return []
        raise WrongUseError(f"no run records at {records}; `orchestai run` writes them, --records names another file")
    found, problems = read_records(records)
    for problem in problems:
        typer.echo(f"orchestai: {problem}", err=True)
    return latest_records(found)


def pick(known: list[str], run_id: str | None, where: pathlib.Path) -> str:
    """The run that `run_id` means, the last where it is None. Raises WrongUseError where it means none or several."""
    if not known:
        raise WrongUseError(f"no runs in {where}")
    if run_id is None:
        return known[-1]
    matching = [run_id] if run_id in known else [name for name in known if name.startswith(run_id)]
    if len(matching) == 1:
        return matching[0]
    if matching:
        ids = ", ".join(matching[:5])
        raise WrongUseError(f"{run_id!r} begins {len(matching)} run ids; give more of it: {ids}")
    raise WrongUseError(f"no run {run_id!r} in {where}; `orchestai runs list` shows the ids")


def _summary(record: RunRecord) -> dict[str, Any]:
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


def _journal_summary(state: JournalState, records: pathlib.Path) -> dict[str, Any]:
    from orchestai_jax.execution import is_running

    header, runs = state.header, state.ended.values()
    return {
        "run_id": header.run_id,
        "created": header.created,
        "instruction": header.workflow.instruction,
        "status": "running" if is_running(journals_of(records), header.run_id) else "interrupted",
        "tasks": len(header.workflow.tasks),
        "succeeded": len(state.finished),
        "duration_s": state.clock_s,
        "cost": sum(run.cost for run in runs),
    }
