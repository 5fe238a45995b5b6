"""`orchestai run`: plans an instruction (or takes a saved plan) and runs it on the workers of the catalog."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestai_jax.cli.errors import WrongUseError
from orchestai_jax.cli.hybrid_options import HybridOptions
from orchestai_jax.cli.option_groups import takes_groups
from orchestai_jax.cli.plan_limits import PlanLimits, keep_to_limits
from orchestai_jax.cli.planning_inputs import (
    PLANNER,
    JsonOption,
    PlanningOptions,
    open_planner,
    prove_writable,
    read_instruction,
)
from orchestai_jax.cli.run_options import RunOptions
from orchestai_jax.cli.running import ProcessesOption, Running, TraceOption, journals_of

if TYPE_CHECKING:
    from orchestai_jax.config import Preference
    from orchestai_jax.workflow import Catalog, Workflow


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
    app.command(name="run", short_help="Plan and run an instruction, or run a saved plan.")(takes_groups(run))


def run(
    *,
    text: Annotated[
        str | None, typer.Argument(metavar="TEXT", help="The instruction; - reads it from stdin.", show_default=False)
    ] = None,
    planner: Annotated[pathlib.Path | None, PLANNER] = None,
    workflow: Annotated[
        pathlib.Path | None,
        typer.Option("--workflow", metavar="FILE", help="Run this saved plan (`orchestai plan --json`), plan nothing."),
    ] = None,
    over: PlanningOptions,
    options: RunOptions,
    out: Annotated[
        pathlib.Path | None,
        typer.Option("--out", metavar="DIR", help="Folder inside --root for new files; default: outputs/RUN_ID."),
    ] = None,
    attempts: Annotated[
        int | None, typer.Option("--attempts", metavar="N", min=1, help="Most calls of one worker for one task.")
    ] = None,
    fallback: Annotated[
        int | None, typer.Option("--fallback", metavar="N", min=0, help="Other workers that may take a task over.")
    ] = None,
    fsync: Annotated[
        bool, typer.Option("--fsync", help="Force journal and record to the disk: they outlive a loss of power.")
    ] = False,
    hybrid: HybridOptions,
    processes: ProcessesOption = 0,
    trace: TraceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Plan an instruction and run the plan: independent tasks in parallel, a record of every run.

    Exits with 1 unless every task succeeded. Ctrl-C stops the workers, keeps the results and writes the record.
    --budget and --deadline also choose the workers that TEXT is planned with. A run that was killed, cancelled or did
    not succeed goes on with `orchestai runs resume RUN_ID`.

    \b
    Examples:
      orchestai run "summarize notes.txt" --planner runs/quickstart/planner --root samples
      orchestai run --workflow plan.json --root samples --out samples/outputs --json
      orchestai run --workflow plan.json --budget 0.10 --deadline 60 --timeout 20
    """
    if (text is None) == (workflow is None):
        raise WrongUseError("give either TEXT, to be planned, or --workflow FILE, a saved plan")
    if workflow is None and planner is None:
        raise WrongUseError("TEXT needs --planner, a workdir or checkpoint folder; `orchestai quickstart` makes one")
    if hybrid.wanted and text is None:
        raise WrongUseError("--llm and --hybrid-threshold plan TEXT; a saved plan is run as it is")
    instruction = None if text is None else read_instruction(text)
    preference = over.read_preference()
    rules = options.rules(attempts=attempts, fallback=fallback)
    prove_writable(options.records, "--records")
    plan = _plan(instruction, workflow, planner, over.read_catalog(), preference, hybrid)
    if instruction is not None:
        limits = PlanLimits(deadline=options.deadline, budget=options.budget)
        chosen = keep_to_limits(plan.workflow, plan.catalog, limits)
        plan = dataclasses.replace(plan, workflow=chosen)
        _warn_of_low_confidence(chosen)
    from orchestai_jax.execution import execute, new_run_id

    run_id = new_run_id()
    running = Running(
        run_id,
        plan.catalog,
        options.root,
        options.records,
        options.max_concurrency,
        processes=processes,
        trace=trace,
        as_json=as_json,
    )
    running.carry_out(
        lambda workers, listen, tracer: execute(
            plan.workflow,
            plan.catalog,
            workers,
            root=options.root,
            output_folder=pathlib.Path("outputs", run_id) if out is None else out.absolute(),
            max_concurrency=options.max_concurrency,
            policies=rules,
            on_event=listen,
            journal=journals_of(options.records),
            records=options.records,
            tracer=tracer,
            planner_info=plan.planner_info,
            preference=plan.preference,
            run_id=run_id,
            fsync=fsync,
        )
    )


def _warn_of_low_confidence(plan: Workflow) -> None:
    from orchestai_jax.planner.plan_to_workflow import LOW_CONFIDENCE

    if plan.tasks and plan.confidence is not None and plan.confidence < LOW_CONFIDENCE:
        typer.echo(
            f"orchestai: low confidence ({plan.confidence:.2f}) in the plan that is run; "
            "`orchestai plan` shows a plan without running it",
            err=True,
        )


def _plan(
    instruction: str | None,
    saved: pathlib.Path | None,
    planner_folder: pathlib.Path | None,
    catalog: Catalog | None,
    preference: Preference | None,
    hybrid: HybridOptions,
) -> _Plan:
    planner = None if planner_folder is None else open_planner(planner_folder)
    if instruction is not None and planner is not None:
        preference = preference or planner.preference
        origin: dict[str, Any] = {"checkpoint": str(planner_folder)}
        if hybrid.wanted:
            found = hybrid.plan(planner, instruction, catalog, preference)
            plan = found.workflow
            origin |= {"confidence": found.learned.confidence, "hybrid": found.as_dict()}
        else:
            plan = planner.plan(instruction, catalog=catalog, preference=preference)
            origin["confidence"] = plan.confidence
        return _Plan(plan, catalog or planner.catalog, origin, preference)
    from orchestai_jax.quickstart import load_embedded_catalog
    from orchestai_jax.workflow import load_workflow

    assert saved is not None
    fallback = load_embedded_catalog() if planner is None else planner.catalog
    return _Plan(load_workflow(saved), catalog or fallback, {"workflow_file": str(saved)}, preference)
