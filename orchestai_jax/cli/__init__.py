"""The `orchestai` command: one file a verb group, no logic of its own, heavy rooms imported inside the verbs."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
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


def build_app(verbs: Sequence[str] = _VERBS) -> typer.Typer:
    """The command with every verb, or with some. Imports nothing heavy."""
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

    for verb in verbs:
        importlib.import_module(f"orchestai_jax.cli.{verb}").register(app)
    return app


def main() -> None:
    """Entry point of the `orchestai` command; ends the process with the exit code."""
    build_app(_asked_for(sys.argv[1:]))()


def _asked_for(arguments: Sequence[str]) -> Sequence[str]:
    """The verb that a command line names, alone, as the others need not be imported for it; all of them where its first
    word is none (an option for help, completion of a shell, something mistyped)."""
    first = next((word for word in arguments if not word.startswith("-")), None)
    return (first,) if first in _VERBS else _VERBS


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"orchestai-jax {orchestai_jax.__version__}")
        raise typer.Exit
