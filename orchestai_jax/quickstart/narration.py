"""What the quickstart says while it works: a line for each step, and how far a step has come."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from rich.console import Console

_EVERY_S = 4.0
"""Seconds between two words on the same step where the output is no terminal."""


class Narrator:
    """Prints steps as they begin and end, and keeps how long each took."""

    def __init__(self, steps: int, console: Console | None = None, clock: Callable[[], float] = time.perf_counter):
        self.console = console or Console(highlight=False)
        self.seconds: dict[str, float] = {}
        """Step → seconds, in order."""
        self._steps, self._clock = steps, clock
        self._last_word = 0.0

    @contextlib.contextmanager
    def step(self, title: str) -> Iterator[None]:
        """A step: says that it begins, and after it how long it took."""
        number = len(self.seconds) + 1
        self.console.print(f"[bold]{number}/{self._steps}[/bold] {title}")
        began = self._last_word = self._clock()
        yield
        self.seconds[title] = self._clock() - began
        self._clear()
        self.console.print(f"    [dim]done in {self.seconds[title]:.1f} s[/dim]")

    def update(self, done: int, total: int, what: str = "") -> None:
        """How far the step has come: on a terminal in place, elsewhere a line every few seconds."""
        text = f"{done}/{total} {what}".rstrip()
        if self.console.is_terminal:
            self.console.print(f"    {text[: max(20, self.console.width - 6)]:<60}", end="\r", style="dim")
        elif self._clock() - self._last_word >= _EVERY_S:
            self._last_word = self._clock()
            self.console.print(f"    {text}")

    def say(self, text: str) -> None:
        """A line of its own."""
        self._clear()
        self.console.print(f"    {text}")

    def _clear(self) -> None:
        if self.console.is_terminal:
            self.console.print(" " * min(self.console.width - 1, 70), end="\r")
