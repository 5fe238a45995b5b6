"""`orchestai collect`: run many instructions and record what became of them, for `data prepare` and `train`."""

from __future__ import annotations

import asyncio
import json
import pathlib
from typing import TYPE_CHECKING, Annotated

import typer

from orchestai_jax.cli.errors import FAILED, WrongUseError
from orchestai_jax.cli.hybrid_options import HybridOptions
from orchestai_jax.cli.option_groups import takes_groups
from orchestai_jax.cli.planning_inputs import (
    MAX_INSTRUCTION,
    PLANNER,
    JsonOption,
    PlanningOptions,
    open_planner,
    prove_writable,
)
from orchestai_jax.cli.run_options import RunOptions
from orchestai_jax.cli.stopping import DaemonThreads, run_to_its_end

if TYPE_CHECKING:
    from orchestai_jax.config import Preference
    from orchestai_jax.execution import Collected, CollectionSettings, CollectionSummary, RunPolicies
    from orchestai_jax.planner import Planner
    from orchestai_jax.workflow import Catalog


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    app.command(name="collect", short_help="Run many instructions and record them as training data.")(
        takes_groups(collect)
    )


def collect(
    *,
    instructions: Annotated[
        pathlib.Path | None,
        typer.Argument(metavar="INSTRUCTIONS", help="Text file, one instruction a line.", show_default=False),
    ] = None,
    planner: Annotated[pathlib.Path | None, PLANNER] = None,
    n: Annotated[int | None, typer.Option("-n", min=1, help="Most instructions; default: all of the file.")] = None,
    synthesize: Annotated[
        bool, typer.Option("--synthesize", help="Make -n instructions over the catalog and the files in --root.")
    ] = False,
    templates: Annotated[
        pathlib.Path | None,
        typer.Option("--templates", metavar="FILE", help="Clauses and values for --synthesize (YAML)."),
    ] = None,
    over: PlanningOptions,
    options: RunOptions,
    candidates: Annotated[
        int, typer.Option("--candidates", metavar="K", min=1, help="Plans that are run for each instruction.")
    ] = 1,
    explore_workers: Annotated[
        float,
        typer.Option(
            "--explore-workers", metavar="P", min=0.0, max=1.0, help="Share of tasks given to another able worker."
        ),
    ] = 0.0,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of made-up instructions and explored workers.")] = 0,
    keep_outputs: Annotated[
        bool, typer.Option("--keep-outputs", help="Keep the files that runs write, in ROOT/outputs/RUN_ID.")
    ] = False,
    hybrid: HybridOptions,
    as_json: JsonOption = False,
) -> None:
    """Plan and run instructions one after the other, and append a record of every run.

    Instructions that the records hold already are passed over: the same command goes on where it was stopped. Runs are
    unattended and do what the plans say, with every worker of the catalog; files outside --root stay out of reach.

    \b
    Examples:
      orchestai collect instructions.txt --planner runs/quickstart/planner --root samples
      orchestai collect --synthesize -n 200 --planner runs/quickstart/planner --root samples --candidates 3
      orchestai data prepare runs/records.jsonl --format records --out prepared
    """
    if planner is None:
        raise WrongUseError("--planner is missing: a workdir or checkpoint folder; `orchestai quickstart` makes one")
    if (instructions is None) != synthesize:
        raise WrongUseError("give either INSTRUCTIONS, a file of them, or --synthesize")
    if synthesize and n is None:
        raise WrongUseError("--synthesize needs -n, the number of instructions to make")
    if templates is not None and not synthesize:
        raise WrongUseError("--templates goes with --synthesize")
    rules = options.rules()
    preference = over.read_preference()
    given = None if instructions is None else read_instructions(instructions)[:n]
    prove_writable(options.records, "--records")
    opened = open_planner(planner)
    chosen = over.read_catalog() or opened.catalog
    texts = given if given is not None else _made_up(chosen, n or 1, seed, options.root, templates)
    from orchestai_jax.execution import CollectionSettings, distinct_instructions

    settings = CollectionSettings(
        candidates=candidates,
        explore_workers=explore_workers,
        seed=seed,
        max_concurrency=options.max_concurrency,
        keep_outputs=keep_outputs,
    )
    summary = run_to_its_end(
        _collect(
            distinct_instructions(texts),
            opened,
            chosen,
            settings,
            hybrid,
            preference or opened.preference,
            root=options.root,
            records=options.records,
            checkpoint=planner,
            policies=rules,
            quiet=as_json,
        )
    )
    if as_json:
        typer.echo(json.dumps({"records": str(options.records), **summary.as_dict()}, indent=2))
    else:
        _print_summary(summary, options.records)
    if not summary.runs and not summary.already_recorded:
        raise typer.Exit(FAILED)


def read_instructions(path: pathlib.Path) -> list[str]:
    """The instructions of a file, one a line; empty lines and lines that begin with # are left out.

    Raises WrongUseError for a file that cannot be read, is not UTF-8, or holds no instruction or one that is too long.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise WrongUseError(f"{path} is not UTF-8 (byte {error.start + 1}); save it as UTF-8") from error
    except OSError as error:
        raise WrongUseError(f"{path}: {error.strerror}; give a text file, one instruction a line") from error
    for number, line in enumerate(lines, start=1):
        if len(line) > MAX_INSTRUCTION:
            raise WrongUseError(f"{path}, line {number}: has more than {MAX_INSTRUCTION} characters")
    texts = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not texts:
        raise WrongUseError(f"{path}: holds no instruction; write one a line")
    return texts


def _made_up(catalog: Catalog, n: int, seed: int, root: pathlib.Path, templates: pathlib.Path | None) -> list[str]:
    from orchestai_jax.data import SynthesisConfig, instructions_on_files, load_templates

    table = load_templates(templates) if templates is not None else None
    return [s.instruction for s in instructions_on_files(catalog, SynthesisConfig(n=n, seed=seed), root, table)]


async def _collect(
    texts: list[str],
    planner: Planner,
    catalog: Catalog,
    settings: CollectionSettings,
    hybrid: HybridOptions,
    preference: Preference,
    *,
    root: pathlib.Path,
    records: pathlib.Path,
    checkpoint: pathlib.Path,
    policies: RunPolicies,
    quiet: bool,
) -> CollectionSummary:
    from orchestai_jax.cli.console import open_console
    from orchestai_jax.execution import collect as run_all
    from orchestai_jax.workers import close_workers, open_workers

    console = open_console(quiet=quiet)

    def tell(ended: Collected) -> None:
        line = f"[{texts.index(ended.instruction) + 1}/{len(texts)}] {_outcome(ended)}: {ended.instruction[:100]}"
        console.print(line.encode("utf-8", "replace").decode(), markup=False)

    asyncio.get_running_loop().set_default_executor(DaemonThreads(2 * settings.max_concurrency))
    workers = open_workers(catalog)
    model = hybrid.open_model()
    try:
        return await run_all(
            texts,
            planner,
            catalog,
            workers,
            root=root,
            records=records,
            settings=settings,
            preference=preference,
            planner_info={"checkpoint": str(checkpoint)},
            policies=policies,
            model=model,
            hybrid=hybrid.policy() if hybrid.wanted else None,
            on_run=tell,
        )
    finally:
        await close_workers(workers.values())
        if model is not None:
            await model.close()


def _outcome(ended: Collected) -> str:
    if ended.record is None:
        return f"refused ({ended.refused})"
    done = sum(run.status == "succeeded" for run in ended.record.tasks)
    return f"{ended.record.status}, {done} of {len(ended.record.tasks)} tasks, {ended.record.duration_s:.2f} s"


def _print_summary(summary: CollectionSummary, records: pathlib.Path) -> None:
    from orchestai_jax.cli.console import open_console

    console = open_console()
    counts = f"{summary.succeeded} succeeded, {summary.partial} partly, {summary.failed} failed"
    console.print(
        f"{summary.runs} runs of {summary.instructions} instructions in {summary.seconds:.1f} s: {counts}; "
        f"{summary.refused} refused, {summary.already_recorded} recorded before",
        markup=False,
    )
    for reason, times in summary.refusals.items():
        console.print(f"  {times} x {reason}", markup=False)
    console.print(f"records appended to {records}", markup=False)
