"""How a script talks and ends: errors as one line, 1 for a failure, 130 where it was interrupted."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from rich.console import Console

from orchestai_jax.training import TrainingDivergedError, TrainingInterrupted


def wide_console() -> Console:
    """A console in which the scripts' tables fit and paths stay in one piece, also where there is no terminal."""
    return Console(highlight=False, soft_wrap=True, width=max(110, Console().width))


def run_script(main: Callable[[], Any]) -> int:
    """Run `main`; the exit code. Faults of the program itself keep their traceback."""
    try:
        main()
    except KeyboardInterrupt as stop:
        saved = f" after step {stop.step}, which is saved" if isinstance(stop, TrainingInterrupted) else ""
        print(f"stopped{saved}; the same command goes on from there", file=sys.stderr)
        return 130
    except (ValueError, FileNotFoundError, TrainingDivergedError) as error:  # what a user can mend
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0
