"""`orchestai config`: the schemas of files that people write, and what a run configuration comes to."""

from __future__ import annotations

import enum
import functools
import json
import pathlib
from typing import Annotated

import typer


class Document(enum.StrEnum):
    """Kinds of files that have a JSON schema."""

    run = "run"
    language_model = "language_model"
    encoder_distillation = "encoder_distillation"
    catalog = "catalog"
    workflow = "workflow"


def register(app: typer.Typer) -> None:
    """Add the verb group to the command."""
    group = typer.Typer(no_args_is_help=True, help="Look at configurations and schemas.", rich_markup_mode=None)
    group.command(name="schema", short_help="Print the JSON schema.")(schema)
    group.command(name="show", short_help="Print a configuration, defaults and overrides filled in.")(show)
    app.add_typer(group, name="config")


def schema(
    of: Annotated[
        Document,
        typer.Option(
            "--of",
            help="Run configurations (of planners, language models, encoders), catalogs in our own format, "
            "or saved plans.",
        ),
    ] = Document.run,
) -> None:
    """Print a JSON schema: every key of a kind of file, its type, range and default.

    \b
    Examples:
      orchestai config schema > run_config.schema.json
      orchestai config schema --of catalog > catalog.schema.json
      orchestai config schema --of workflow > workflow.schema.json
    """
    from orchestai_jax.config import DistillationRunConfig, LanguageRunConfig, config_json_schema
    from orchestai_jax.workflow import catalog_json_schema, workflow_json_schema

    makers = {
        "run": config_json_schema,
        "language_model": functools.partial(config_json_schema, LanguageRunConfig),
        "encoder_distillation": functools.partial(config_json_schema, DistillationRunConfig),
        "catalog": catalog_json_schema,
        "workflow": workflow_json_schema,
    }
    typer.echo(json.dumps(makers[of](), indent=2))


def show(
    config: Annotated[pathlib.Path, typer.Argument(metavar="CONFIG", help="YAML file.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Dotted assignments, the value as YAML.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print what a configuration comes to: defaults, environment variables and overrides filled in.

    \b
    Example:
      orchestai config show configs/planner_ultratool.yaml training.phase1_supervised.batch_size=8
    """
    from orchestai_jax.config import dump_config, load_run_config

    loaded = load_run_config(config, overrides or [])
    typer.echo(json.dumps(loaded.model_dump(mode="json"), indent=2) if as_json else dump_config(loaded), nl=as_json)
