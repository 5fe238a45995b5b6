"""The console that verbs print trees and tables on."""

from __future__ import annotations

import os
import sys
from typing import Any

from rich.console import Console

_WIDE = 1000
"""Columns where there is no terminal: in logs and pipes nothing is wrapped or cut."""


class PatientConsole(Console):
    """A console that falls silent when its reader goes away (`| head`), so that a run is still brought to its end."""

    def on_broken_pipe(self) -> None:
        """Send what comes to nowhere."""
        self.quiet = True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def open_console(**options: Any) -> Console:
    """The console on stdout: as wide as the terminal, or without wrapping where there is none."""
    console = PatientConsole(highlight=False, **options)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _WIDE
    return console
