"""The one place where errors become one clear line on stderr and an exit code."""

from __future__ import annotations

import contextlib
import sys
import traceback
from typing import Any

import typer
from typer.core import TyperGroup

DONE, FAILED, WRONG_USE, INTERRUPTED = 0, 1, 2, 130
"""Exit codes: done; it ran and failed; what was given is wrong; stopped with Ctrl-C."""


class WrongUseError(ValueError):
    """Something given on the command line cannot be meant. The message names it and says what is allowed."""


def exit_code_of(error: BaseException) -> int:
    """The exit code for an error: 2 for a ValueError (what was given is wrong), 130 for Ctrl-C, else 1."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    return WRONG_USE if isinstance(error, ValueError) else FAILED


def one_line(error: BaseException) -> str:
    """The error in one line for a person: what went wrong, without the traceback."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename is not None else error.strerror
    if isinstance(error, ModuleNotFoundError):
        return f"{error}: install what is missing (`orchestai doctor` lists the extras)"
    message = " ".join(str(error).split())
    if _is_explained(error):
        return message or type(error).__name__
    return f"{type(error).__name__}: {message} (--debug shows where)"


def _is_explained(error: BaseException) -> bool:
    """Whether the message was written for people: errors of this package and plain ValueErrors."""
    return type(error).__module__.startswith("orchestai_jax.") or type(error) is ValueError


def report(error: BaseException, *, debug: bool) -> int:
    """Print an error on stderr, with its traceback where `debug` is set, and return the exit code."""
    if debug:
        traceback.print_exception(error)
    # Undecodable bytes of a file name come back as lone surrogates, which stderr's encoding may refuse.
    line = f"orchestai: {one_line(error)}".encode("utf-8", "backslashreplace").decode("utf-8")
    with contextlib.suppress(BrokenPipeError):  # nobody reads stderr any more; the exit code still tells
        print(line, file=sys.stderr)
    return exit_code_of(error)


class ErrorReportingGroup(TyperGroup):
    """The root command: reports errors of every verb, and takes `--debug` wherever it stands."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Move `--debug` to the front, so that it may be added to the end of a command that has just failed."""
        end = args.index("--") if "--" in args else len(args)
        if "--debug" in args[:end]:
            args = ["--debug", *(a for a in args[:end] if a != "--debug"), *args[end:]]
        ctx.ensure_object(dict)
        ctx.obj["debug"] = "--debug" in args[:end]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the verb; errors end as one line and an exit code. Usage errors are left to typer."""
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort, BrokenPipeError):
            raise
        except (Exception, KeyboardInterrupt) as error:
            if hasattr(error, "format_message"):  # typer's own usage errors
                raise
            raise typer.Exit(report(error, debug=ctx.obj["debug"])) from error
