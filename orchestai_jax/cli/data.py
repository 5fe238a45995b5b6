"""`orchestai data`: make training data of records and public sets, look at it, synthesise it."""

from __future__ import annotations

import enum
import json
import pathlib
from typing import TYPE_CHECKING, Annotated, cast

import typer

from orchestai_jax.cli.errors import WrongUseError
from orchestai_jax.cli.evaluate import Format
from orchestai_jax.cli.planning_inputs import CatalogOption, GraphOption, JsonOption, prove_writable, read_catalog

if TYPE_CHECKING:
    from orchestai_jax.data import PlanningSample, SampleSummary
    from orchestai_jax.data.clause_wording import TemplateSplit

_FREQUENT = 15
"""Task types that the table of `inspect` shows."""


class Clauses(enum.StrEnum):
    """Which clauses of the templates may be used; the names are those of `SynthesisConfig.template_split`."""

    all = "all"
    train = "train"
    held_out = "held-out"


def register(app: typer.Typer) -> None:
    """Add the verb group to the command."""
    group = typer.Typer(no_args_is_help=True, help="Prepare, inspect and synthesise data.", rich_markup_mode=None)
    group.command(name="prepare", short_help="Turn records or a public set into training data.")(prepare)
    group.command(name="inspect", short_help="Say what a data file holds, and what is odd about it.")(inspect)
    group.command(name="synthesize", short_help="Make instructions with their plans for a catalog.")(synthesize)
    app.add_typer(group, name="data")


def prepare(
    source: Annotated[pathlib.Path, typer.Argument(metavar="SOURCE", help="File of records or of a public set.")],
    data_format: Annotated[Format, typer.Option("--format", help="Format of the source.")],
    catalog: CatalogOption = None,
    graph: GraphOption = None,
    out: Annotated[
        pathlib.Path, typer.Option("--out", metavar="DIR", help="Folder for train.jsonl and validation.jsonl.")
    ] = pathlib.Path("prepared"),
    validation_fraction: Annotated[
        float, typer.Option("--validation-fraction", min=0.0, max=1.0, help="Share of the samples held out, by id.")
    ] = 0.1,
    salt: Annotated[str, typer.Option("--salt", help="Another salt gives another split.")] = "",
    min_success: Annotated[
        float,
        typer.Option(
            "--min-success", min=0.0, max=1.0, help="Of records: leave out runs with a smaller share of tasks done."
        ),
    ] = 1.0,
    min_quality: Annotated[
        float,
        typer.Option("--min-quality", min=0.0, max=1.0, help="Of records: leave out runs of a lower measured quality."),
    ] = 0.0,
    every_run: Annotated[
        bool, typer.Option("--every-run", help="Of records: keep all runs of an instruction, not only the best one.")
    ] = False,
    augment: Annotated[
        int,
        typer.Option(
            "--augment", metavar="N", min=0, help="Add N variants: slips, other case, small words left out, two in one."
        ),
    ] = 0,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same variants.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Turn run records or a public set into training data: JSON lines that `train` reads, split by a hash of the ids.

    Written are `train.jsonl` and `validation.jsonl`; files of these names in the folder are replaced. Variants are made
    of the training samples alone and added to these. Train with both files (data.train and data.validation): splitting
    train.jsonl once more would part variants from what they are variants of.

    \b
    Examples:
      orchestai data prepare runs/records.jsonl --format records --out prepared
      orchestai data prepare runs/records.jsonl --format records --out prepared --augment 500 --seed 1
      orchestai data prepare train.jsonl --format taskbench --catalog tool_desc.json --validation-fraction 0.1
    """
    from orchestai_jax.data import augmented_samples, learnable_runs, load_samples, save_samples, split_by_hash

    samples = load_samples(source, data_format.value, read_catalog(catalog, graph))
    keep_all = every_run or data_format is not Format.records
    kept = learnable_runs(samples, min_success=min_success, min_quality=min_quality, every_run=keep_all)
    if not kept:
        limits = f"--min-success {min_success:g}" + (f" and --min-quality {min_quality:g}" if min_quality else "")
        raise WrongUseError(f"{source}: no run reaches {limits}; lower it")
    train, validation = split_by_hash(kept, validation_fraction, salt)
    parts = {"train": [*train, *augmented_samples(train, augment, seed)], "validation": validation}
    paths = {name: out / f"{name}.jsonl" for name in parts}
    for path in paths.values():  # all of them before the first is written
        if path.exists() and path.samefile(source):
            raise WrongUseError(f"{path} is the source itself; choose another --out")
        prove_writable(path, "--out")
    for name, part in parts.items():
        save_samples(paths[name], part)
    written = {name: {"path": str(paths[name]), "samples": len(part)} for name, part in parts.items()}
    empty = [f"{name}.jsonl" for name in parts if not parts[name] and 0 < validation_fraction < 1]
    hint = (
        f"{' and '.join(empty)} is empty, which train refuses: {len(kept)} samples are parted by a hash of their ids; "
        "give another --validation-fraction or --salt"
        if empty
        else None
    )
    report = {**written, "augmented": augment, "left_out": len(samples) - len(kept), "hint": hint}
    if as_json:
        typer.echo(json.dumps(report, indent=2))
        return
    from rich.table import Table

    from orchestai_jax.cli.console import open_console

    table = Table("part", "samples", "file", title=f"{len(samples)} samples of {source.name}", title_justify="left")
    for name, part in parts.items():
        table.add_row(name, str(len(part)), str(paths[name]))
    if augment:
        table.add_row("variants", str(augment), "among those of train")
    if report["left_out"]:
        why = f"below --min-success {min_success:g}" + (f" or --min-quality {min_quality:g}" if min_quality else "")
        table.add_row("left out", str(report["left_out"]), why if keep_all else f"{why}, or not the best of their kind")
    open_console().print(table)
    if hint:
        typer.echo(hint, err=True)


def inspect(
    file: Annotated[pathlib.Path, typer.Argument(metavar="FILE", help="Data file.")],
    data_format: Annotated[Format, typer.Option("--format", help="Format of the file.")] = Format.planning,
    catalog: CatalogOption = None,
    graph: GraphOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what a data file holds: samples, plans and their shapes, lengths, task types, and what is odd about it.

    \b
    Examples:
      orchestai data inspect prepared/train.jsonl
      orchestai data inspect test.jsonl --format taskbench --catalog tool_desc.json --json
    """
    from orchestai_jax.data import load_samples, summarize

    chosen = read_catalog(catalog, graph)
    summary = summarize(load_samples(file, data_format.value, chosen), chosen)
    if as_json:
        typer.echo(json.dumps(summary.to_json(), indent=2))
        return
    _print_summary(summary, file.name)


def synthesize(
    catalog: Annotated[pathlib.Path, typer.Argument(metavar="CATALOG", help="Catalog in any format that is read.")],
    n: Annotated[int, typer.Option("-n", min=1, help="Number of samples, all with different instructions.")] = 1000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same samples.")] = 0,
    out: Annotated[
        pathlib.Path | None, typer.Option("--out", metavar="FILE", help="JSON lines; without it they go to stdout.")
    ] = None,
    templates: Annotated[
        pathlib.Path | None,
        typer.Option("--templates", metavar="FILE", help="Clauses and values for the catalog's task types (YAML)."),
    ] = None,
    graph: GraphOption = None,
    max_tasks: Annotated[int, typer.Option("--max-tasks", min=1, help="Most tasks of a plan.")] = 5,
    shapes: Annotated[
        str, typer.Option("--shapes", metavar="WEIGHTS", help="How often each shape of plan is made.")
    ] = "node=0.3,chain=0.4,dag=0.3",
    template_split: Annotated[
        Clauses,
        typer.Option("--template-split", help="Clauses to use: all, those to train with, or those held out of them."),
    ] = Clauses.all,
    held_out_every: Annotated[
        int, typer.Option("--held-out-every", metavar="K", min=2, help="Hold every K-th clause of a list out.")
    ] = 5,
    paraphrase: Annotated[
        float,
        typer.Option("--paraphrase", min=0.0, max=1.0, help="How often a word gets one of the templates' synonyms."),
    ] = 0.3,
    polite: Annotated[
        float, typer.Option("--polite", min=0.0, max=1.0, help="Share of imperatives in a frame such as `could you`.")
    ] = 0.5,
    as_json: JsonOption = False,
) -> None:
    """Make instructions with their gold plans for any catalog: single tasks, chains and DAGs whose types fit.

    Without templates the clauses are made of the task types' ids and descriptions. Samples of held-out clauses show how
    a planner does on words that it was not trained on.

    \b
    Examples:
      orchestai data synthesize catalog.yaml -n 2000 --seed 1 --out synthetic.jsonl
      orchestai data synthesize tool_desc.json --graph graph_desc.json -n 500 --shapes chain=1
      orchestai data synthesize catalog.yaml -n 2000 --template-split train --out train.jsonl
      orchestai data synthesize catalog.yaml -n 200 --template-split held-out --out unheard.jsonl
    """
    from orchestai_jax.data import (
        ShapeWeights,
        SynthesisConfig,
        load_templates,
        sample_to_json,
        save_samples,
        summarize,
    )
    from orchestai_jax.data import synthesize as make_samples

    if out is None and as_json:
        raise WrongUseError("--json prints a summary and needs --out; without --out the samples themselves are printed")
    chosen = read_catalog(catalog, graph)
    assert chosen is not None
    config = SynthesisConfig(
        n=n,
        seed=seed,
        max_tasks=max_tasks,
        shapes=ShapeWeights(**_weights(shapes)),
        template_split=cast("TemplateSplit", template_split.name),
        held_out_every=held_out_every,
        paraphrase=paraphrase,
        polite=polite,
    )
    table = load_templates(templates) if templates is not None else None
    if out is not None:
        prove_writable(out, "--out")
    samples: list[PlanningSample] = make_samples(chosen, config, table)
    if out is None:
        for sample in samples:
            typer.echo(json.dumps(sample_to_json(sample)))
        return
    save_samples(out, samples)
    summary = summarize(samples, chosen)
    if as_json:
        typer.echo(json.dumps({"path": str(out), **summary.to_json()}, indent=2))
        return
    _print_summary(summary, str(out))


def _weights(text: str) -> dict[str, float]:
    """`chain=1,dag=0.5` as weights; shapes that are not named get 0. Raises WrongUseError."""
    weights = {"node": 0.0, "chain": 0.0, "dag": 0.0}
    for part in text.split(","):
        name, _, number = (word.strip() for word in part.partition("="))
        try:
            weights[name] = float(number)
        except ValueError:
            raise WrongUseError(f"--shapes {text}: `{number}` is no number; write node=0.3,chain=0.4,dag=0.3") from None
        if len(weights) > 3:
            raise WrongUseError(f"--shapes {text}: `{name}` is no shape; there are node, chain and dag")
    if not all(0 <= weight < float("inf") for weight in weights.values()) or not any(weights.values()):
        raise WrongUseError(f"--shapes {text}: weights must not be negative, and one must be above 0")
    return weights


def _print_summary(summary: SampleSummary, name: str) -> None:
    from rich.table import Table

    from orchestai_jax.cli.console import open_console

    console = open_console()
    table = Table("what", "value", title=name, title_justify="left")
    table.add_row("samples", str(summary.samples))
    table.add_row("tasks", f"{summary.tasks} of {summary.task_types} task types")
    table.add_row("dependencies", str(summary.dependencies))
    table.add_row("tasks a sample", _counts(summary.tasks_per_sample))
    table.add_row("shapes", _counts(summary.shapes))
    table.add_row("characters", ", ".join(f"{k} {v:g}" for k, v in summary.characters.items()))
    table.add_row("with", _counts(summary.with_fields) or "instruction and plan only")
    console.print(table)
    frequent = Table("task type", "tasks", title="most frequent task types", title_justify="left")
    for task_type, count in list(summary.frequencies.items())[:_FREQUENT]:
        frequent.add_row(task_type, str(count))
    if summary.task_types > _FREQUENT:
        frequent.add_row(f"... {summary.task_types - _FREQUENT} more", "")
    console.print(frequent)
    for problem in summary.problems:
        console.print(f"note: {problem}", markup=False)


def _counts(counts: dict[int, int] | dict[str, int]) -> str:
    return ", ".join(f"{key}: {count}" for key, count in counts.items())
