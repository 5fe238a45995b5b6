"""Errors become one line and an exit code, in one place."""

import pytest
import typer
from typer.testing import CliRunner

from orchestai_jax.cli.errors import ErrorReportingGroup
from orchestai_jax.config import ConfigError
from orchestai_jax.workers import WorkerError


def invoke(error, *arguments):
    app = typer.Typer(cls=ErrorReportingGroup, pretty_exceptions_enable=False)

    @app.callback()
    def root(debug: bool = typer.Option(False, "--debug")) -> None:
        pass

    @app.command()
    def verb(words: list[str] = typer.Argument(None)) -> None:
        print(words)
        if error is not None:
            raise error

    return CliRunner().invoke(app, ["verb", *arguments])


@pytest.mark.parametrize(
    "error, code, line",
    [
        (ConfigError("run.yaml: seed is x"), 2, "run.yaml: seed is x"),
        (ValueError("two\nlines"), 2, "two lines"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), 2, "UnicodeDecodeError: 'utf-8' codec"),
        (WorkerError("no such tool"), 1, "no such tool"),
        (FileNotFoundError(2, "No such file or directory", "a.txt"), 1, "a.txt: No such file or directory"),
        (PermissionError(13, "Permission denied"), 1, "Permission denied"),
        (OSError("odd"), 1, "OSError: odd (--debug shows where)"),
        (ModuleNotFoundError("No module named 'polars'"), 1, "No module named 'polars': install what is missing"),
        (KeyError("x"), 1, "KeyError: 'x' (--debug shows where)"),
        (AssertionError(), 1, "AssertionError"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (ValueError("name \udcff"), 2, "name \\udcff"),
    ],
)
def test_one_line_and_the_exit_code(error, code, line):
    result = invoke(error)
    assert result.exit_code == code
    assert result.stderr.startswith(f"orchestai: {line}")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [("--debug",), ("a", "--debug", "b")])
def test_debug_shows_the_traceback_wherever_it_stands(arguments):
    result = invoke(ValueError("wrong"), *arguments)
    assert result.exit_code == 2
    assert "Traceback" in result.stderr
    assert result.stderr.endswith("orchestai: wrong\n")


def test_debug_after_two_dashes_is_a_word():
    result = invoke(ValueError("wrong"), "--", "--debug")
    assert result.stdout == "['--debug']\n"
    assert "Traceback" not in result.stderr


def test_usage_errors_and_a_broken_pipe_are_left_alone():
    assert invoke(typer.BadParameter("not this")).exit_code == 2
    assert invoke(typer.Exit(7)).exit_code == 7
    assert invoke(typer.Abort()).exit_code == 1
    assert isinstance(invoke(BrokenPipeError()).exception, BrokenPipeError | SystemExit)
    assert invoke(None).exit_code == 0
