"""`orchestai run`: plans an instruction (or takes a saved plan) and runs it on the local workers."""

from __future__ import annotations

import asyncio
import concurrent.futures
import dataclasses
import pathlib
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestai_jax.cli.errors import FAILED, WrongUseError
from orchestai_jax.cli.planning_inputs import (
    CatalogOption,
    GraphOption,
    JsonOption,
    PreferOption,
    open_planner,
    prove_writable,
    read_catalog,
    read_instruction,
    read_preference,
)

if TYPE_CHECKING:
    from orchestai_jax.config import Preference
    from orchestai_jax.workflow import Catalog, RunRecord, Workflow

DEFAULT_RECORDS = pathlib.Path("runs/records.jsonl")
"""Where runs are recorded unless `--records` says otherwise, relative to the current folder."""


@dataclasses.dataclass(frozen=True)
class _Plan:
    """What is run, and what the record says of how it came about."""

    workflow: Workflow
    catalog: Catalog
    planner_info: dict[str, Any]
    preference: Preference | None
    """The balance that the workers were chosen under; None where a saved plan does not say."""


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    app.command(name="run", short_help="Plan and run an instruction, or run a saved plan.")(run)


def run(
    text: Annotated[
        str | None, typer.Argument(metavar="TEXT", help="The instruction; - reads it from stdin.", show_default=False)
    ] = None,
    planner: Annotated[
        pathlib.Path | None,
        typer.Option("--planner", metavar="PLANNER", help="Workdir or checkpoint folder of a planner."),
    ] = None,
    workflow: Annotated[
        pathlib.Path | None,
        typer.Option("--workflow", metavar="FILE", help="Run this saved plan (`orchestai plan --json`), plan nothing."),
    ] = None,
    catalog: CatalogOption = None,
    graph: GraphOption = None,
    prefer: PreferOption = None,
    root: Annotated[
        pathlib.Path, typer.Option("--root", metavar="DIR", help="Folder that files are read inside.")
    ] = pathlib.Path(),
    out: Annotated[
        pathlib.Path | None,
        typer.Option("--out", metavar="DIR", help="Folder inside --root for new files; default: outputs/RUN_ID."),
    ] = None,
    records: Annotated[
        pathlib.Path, typer.Option("--records", metavar="FILE", help="The run's record is appended to this file.")
    ] = DEFAULT_RECORDS,
    max_concurrency: Annotated[
        int, typer.Option("--max-concurrency", metavar="N", min=1, help="Tasks that may run at once.")
    ] = 4,
    as_json: JsonOption = False,
) -> None:
    """Plan an instruction and run the plan: independent tasks in parallel, a record of every run.

    Exits with 1 unless every task succeeded. Ctrl-C stops the workers, keeps the results and writes the record.

    \b
    Examples:
      orchestai run "summarize notes.txt" --planner runs/quickstart/planner --root samples
      orchestai run --workflow plan.json --root samples --out samples/outputs --json
    """
    if (text is None) == (workflow is None):
        raise WrongUseError("give either TEXT, to be planned, or --workflow FILE, a saved plan")
    if workflow is None and planner is None:
        raise WrongUseError("TEXT needs --planner, a workdir or checkpoint folder; `orchestai quickstart` makes one")
    if not root.is_dir():
        raise WrongUseError(f"--root {root} is not a folder")
    instruction = None if text is None else read_instruction(text)
    preference = read_preference(prefer)
    prove_writable(records, "--records")
    plan = _plan(instruction, workflow, planner, read_catalog(catalog, graph), preference)
    _run(plan, root=root, out=out, records=records, as_json=as_json, max_concurrency=max_concurrency)


async def _with_threads(running: Coroutine[Any, Any, RunRecord], max_concurrency: int) -> RunRecord:
    """Run with threads for `max_concurrency` tools: asyncio's own pool has few more than the machine has cores."""
    pool = concurrent.futures.ThreadPoolExecutor(max_workers=2 * max_concurrency, thread_name_prefix="tool")
    asyncio.get_running_loop().set_default_executor(pool)  # asyncio.run shuts it down
    return await running


def _plan(
    instruction: str | None,
    saved: pathlib.Path | None,
    planner_folder: pathlib.Path | None,
    catalog: Catalog | None,
    preference: Preference | None,
) -> _Plan:
    planner = None if planner_folder is None else open_planner(planner_folder)
    if instruction is not None and planner is not None:
        preference = preference or planner.preference
        plan = planner.plan(instruction, catalog=catalog, preference=preference)
        origin = {"checkpoint": str(planner_folder), "confidence": plan.confidence}
        return _Plan(plan, catalog or planner.catalog, origin, preference)
    from orchestai_jax.quickstart import load_embedded_catalog
    from orchestai_jax.workflow import load_workflow

    assert saved is not None
    fallback = load_embedded_catalog() if planner is None else planner.catalog
    return _Plan(load_workflow(saved), catalog or fallback, {"workflow_file": str(saved)}, preference)


def _run(
    plan: _Plan,
    *,
    root: pathlib.Path,
    out: pathlib.Path | None,
    records: pathlib.Path,
    as_json: bool,
    max_concurrency: int,
) -> None:
    from orchestai_jax.cli.console import open_console
    from orchestai_jax.cli.run_display import LiveTree, PlainLines, record_tree, totals
    from orchestai_jax.execution import Event, execute, new_run_id
    from orchestai_jax.workers import local_workers
    from orchestai_jax.workflow import append_record

    run_id = new_run_id()
    console = open_console(quiet=as_json)
    live = console.is_terminal and not as_json
    display = LiveTree(console, root) if live else PlainLines(console)

    recorded = False

    def listen(event: Event) -> None:
        nonlocal recorded
        if event.record is not None:  # comes however the run ends, Ctrl-C included
            append_record(records, event.record)
            recorded = True
        display(event)

    running = execute(
        plan.workflow,
        plan.catalog,
        local_workers(),
        root=root,
        output_folder=pathlib.Path("outputs", run_id) if out is None else out.absolute(),
        max_concurrency=max_concurrency,
        on_event=listen,
        planner_info=plan.planner_info,
        preference=plan.preference,
        run_id=run_id,
    )
    try:
        with display:
            record = asyncio.run(_with_threads(running, max_concurrency))
    except KeyboardInterrupt:
        if recorded:
            typer.echo(f"orchestai: stopped; what was done stands in {records} as run {run_id}", err=True)
        raise
    if as_json:
        typer.echo(record.model_dump_json(indent=2))
    else:
        if not live:
            console.print(record_tree(record, root))
        console.print(totals(record))
        console.print(f"record appended to {records}", markup=False)
    if record.status != "succeeded":
        raise typer.Exit(FAILED)
