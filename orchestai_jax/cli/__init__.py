"""The `orchestai` command: one file a verb group, no logic of its own, heavy rooms imported inside the verbs."""

from __future__ import annotations

import importlib
from typing import Annotated

import typer

import orchestai_jax
from orchestai_jax.cli.errors import ErrorReportingGroup

__all__ = ["build_app", "main"]

_VERBS = (
    "quickstart",
    "doctor",
    "train",
    "workdir",
    "evaluate",
    "plan",
    "run",
    "runs",
    "collect",
    "workers",
    "data",
    "lm",
    "kernels",
    "config",
)
"""Files of this room, each with `register(app)`, in the order of `--help`."""


def build_app() -> typer.Typer:
    """The whole command with every verb. Imports nothing heavy."""
    app = typer.Typer(
        name="orchestai",
        cls=ErrorReportingGroup,
        rich_markup_mode=None,
        no_args_is_help=True,
        add_completion=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )

    @app.callback()
    def orchestai(  # pyright: ignore[reportUnusedFunction]
        version: Annotated[
            bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
        ] = False,
        debug: Annotated[
            bool, typer.Option("--debug", help="Show tracebacks and debug logs; may stand anywhere.")
        ] = False,
    ) -> None:
        """Turn instructions into workflows, pick a worker for every task, run them, and learn from the runs.

        Exit codes: 0 done, 1 failed, 2 wrong use, 130 interrupted.

        \b
        Examples:
          orchestai quickstart                                    see everything happen, no network needed
          orchestai plan "summarize notes.txt" --planner runs/quickstart/planner
          orchestai run "make a thumbnail of photo.png" --planner runs/quickstart/planner
        """
        from orchestai_jax.config import set_up_logging

        set_up_logging("debug" if debug else "warning")

    for verb in _VERBS:
        importlib.import_module(f"orchestai_jax.cli.{verb}").register(app)
    return app


def main() -> None:
    """Entry point of the `orchestai` command; ends the process with the exit code."""
    build_app()()


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"orchestai-jax {orchestai_jax.__version__}")
        raise typer.Exit
