"""`orchestai train`: train what a configuration says, or go on where a run was stopped."""

from __future__ import annotations

import dataclasses
import enum
import json
import pathlib
from typing import Annotated, Any

import typer
from typer.core import TyperCommand


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    app.command(
        name="train",
        cls=ResumableCommand,
        short_help="Train a planner, a language model or an encoder as a configuration says.",
    )(train)


class ResumableCommand(TyperCommand):
    """Takes `--resume` with a value (`--resume=latest-good`) and without one, which means `latest`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Write the value out."""
        end = args.index("--") if "--" in args else len(args)
        given = [f"{arg}=latest" if arg == "--resume" and i < end else arg for i, arg in enumerate(args)]
        return super().parse_args(ctx, given)


class ResumeFrom(enum.StrEnum):
    """What `--resume` may name."""

    LATEST = "latest"
    LATEST_GOOD = "latest-good"


def train(
    context: typer.Context,
    config: Annotated[pathlib.Path, typer.Argument(metavar="CONFIG", help="YAML file of the run.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Dotted assignments over the file, the value as YAML."),
    ] = None,
    workdir: Annotated[
        pathlib.Path | None,
        typer.Option("--workdir", metavar="DIR", help="Folder of the run (default: runs/NAME)."),
    ] = None,
    resume: Annotated[
        ResumeFrom | None,
        typer.Option(
            "--resume",
            help="Go on from the last checkpoint in the folder; =latest-good passes damaged ones over.",
        ),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="CHECKPOINT",
            help="Work folder or checkpoint whose weights training starts from, with a new optimizer state.",
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", metavar="N", min=1, help="Passes over the data (key=value: num_epochs).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Train a planner, or what the configuration's `kind` says: `language_model`, or `encoder_distillation`.

    The latter makes a ternary text encoder of a float one: the folder `encoder` in the work folder, for the key
    `planner.encoder.weights` of a planner's configuration.

    Checkpoints, metrics.jsonl and config.yaml go to the work folder.

    With --from the weights, and what the configuration's planner section leaves open, are those of another run. An
    epoch of what is trained for a number of steps is its evaluate_every_steps steps. Give both again with --resume.

    A run that was stopped or killed at any step goes on with --resume as if it had never been. Ctrl-C saves first.

    \b
    Examples:
      orchestai train configs/planner_ultratool.yaml --workdir runs/ultratool
      orchestai train configs/planner_ultratool.yaml --workdir runs/ultratool --resume
      orchestai train configs/planner_ultratool.yaml --workdir runs/ultratool --resume=latest-good
      orchestai train configs/planner_ultratool.yaml training.phase1_supervised.num_epochs=2 seed=1
      orchestai train configs/planner_ultratool.yaml --from runs/ultratool --workdir runs/further --epochs 2
      orchestai train configs/lm_tinyshakespeare.yaml --workdir runs/shakespeare
      orchestai train configs/encoder_ternary.yaml --workdir runs/encoder
    """
    from orchestai_jax.config import (
        DistillationRunConfig,
        LanguageRunConfig,
        RunConfig,
        load_env_file,
        load_run_config,
        set_up_logging,
    )

    overrides = overrides or []
    loaded = load_run_config(config, overrides)
    for_steps = not isinstance(loaded, RunConfig)
    section = "training" if for_steps else "training.phase1_supervised"
    options = []
    if start is not None:
        options.append(f"{section}.initialize_from={json.dumps(start.replace('${', '$${'))}")
    if epochs is not None and not isinstance(loaded, RunConfig):
        options.append(f"{section}.num_steps={epochs * loaded.training.evaluate_every_steps}")
    elif epochs is not None:
        options.append(f"{section}.num_epochs={epochs}")
    if options:
        loaded = load_run_config(config, [*overrides, *options])
    load_env_file()
    debug = bool((context.obj or {}).get("debug"))
    set_up_logging("debug" if debug else loaded.system.log_level)
    from orchestai_jax.training.processes import is_lead, join_processes

    join_processes()
    folder = workdir if workdir is not None else pathlib.Path("runs") / loaded.name
    going_on = resume.value if resume is not None else False
    if isinstance(loaded, DistillationRunConfig):
        from orchestai_jax.training.distillation import distill_encoder

        result = distill_encoder(loaded, folder, going_on)
    elif isinstance(loaded, LanguageRunConfig):
        from orchestai_jax.training.language_model import train_language_model

        result = train_language_model(loaded, folder, going_on)
    else:
        from orchestai_jax.training.supervised import train_planner

        result = train_planner(loaded, folder, going_on)
    if not is_lead():
        return
    if as_json:
        typer.echo(json.dumps({"workdir": str(folder), **dataclasses.asdict(result)}))
        return
    metrics = "  ".join(f"{name} {value:.4f}" for name, value in result.best_metrics.items())
    typer.echo(
        f"{folder}: {result.steps} steps{' (stopped early)' if result.stopped_early else ''}, "
        f"best at step {result.best_step}: {metrics}"
    )
