"""What a person sees of a training run: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import TimeRemainingColumn as RemainingColumn

from orchestai_jax.training.memory import memory_in_use


class Monitor(Protocol):
    """Told about everything that happens in a run; shows what it likes."""

    def start(
        self,
        *,
        step: int,
        total_steps: int,
        steps_per_epoch: int,
        samples_per_step: int,
        tokens_per_step: int | None = None,
    ) -> None:
        """Training begins after `step` steps that are done already."""
        ...

    def step(self, step: int, values: Mapping[str, float], learning_rate: float) -> None:
        """A step is done; `values` are its measurements."""
        ...

    def validation(self, epoch: int, metrics: Mapping[str, float], is_best: bool) -> None:
        """An epoch is evaluated (epochs count from 1)."""
        ...

    def progress(self, label: str, done: int, total: int) -> None:
        """Some other work (reading, encoding, …) stands at `done` of `total`."""
        ...

    def note(self, text: str) -> None:
        """Something worth a line."""
        ...

    def close(self) -> None:
        """Nothing more comes."""
        ...


class SilentMonitor:
    """Shows nothing."""

    def start(
        self,
        *,
        step: int,
        total_steps: int,
        steps_per_epoch: int,
        samples_per_step: int,
        tokens_per_step: int | None = None,
    ) -> None:
        """Show nothing."""

    def step(self, step: int, values: Mapping[str, float], learning_rate: float) -> None:
        """Show nothing."""

    def validation(self, epoch: int, metrics: Mapping[str, float], is_best: bool) -> None:
        """Show nothing."""

    def progress(self, label: str, done: int, total: int) -> None:
        """Show nothing."""

    def note(self, text: str) -> None:
        """Show nothing."""

    def close(self) -> None:
        """Show nothing."""


class _Pace:
    """Steps a second since the start, and the time left at that pace."""

    def __init__(self, step: int, total_steps: int, clock: Callable[[], float]):
        self._first, self._total, self._clock = step, total_steps, clock
        self._since = clock()

    def steps_per_second(self, step: int) -> float:
        return (step - self._first) / max(self._clock() - self._since, 1e-9)

    def seconds_left(self, step: int) -> float:
        pace = self.steps_per_second(step)
        return (self._total - step) / pace if pace > 0 else float("inf")


class PlainMonitor:
    """A line at the first step, then every `every_s` seconds, at each validation and for each note."""

    def __init__(
        self, stream: TextIO | None = None, every_s: float = 10.0, clock: Callable[[], float] = time.monotonic
    ):
        self._stream, self._every_s, self._clock = stream, every_s, clock
        self._shown: float | None = None
        self._total = self._steps_per_epoch = self._samples = 0
        self._tokens: int | None = None
        self._pace = _Pace(0, 0, clock)

    def start(
        self,
        *,
        step: int,
        total_steps: int,
        steps_per_epoch: int,
        samples_per_step: int,
        tokens_per_step: int | None = None,
    ) -> None:
        """Remember the run's size."""
        self._total, self._steps_per_epoch = total_steps, steps_per_epoch
        self._samples, self._tokens = samples_per_step, tokens_per_step
        self._pace = _Pace(step, total_steps, self._clock)
        self._shown = None
        self.note(f"training from step {step} to {total_steps}, {steps_per_epoch} steps an epoch")

    def step(self, step: int, values: Mapping[str, float], learning_rate: float) -> None:
        """A line, if it is time for one."""
        if not self._is_time():
            return
        epochs = -(-self._total // self._steps_per_epoch)
        self.note(
            f"epoch {_epoch(step, self._steps_per_epoch)}/{epochs} step {step}/{self._total} "
            f"{_shown(values, first='loss')} lr {learning_rate:.2e} "
            f"{_speed(self._pace.steps_per_second(step), self._samples, self._tokens)} "
            f"{_duration(self._pace.seconds_left(step))} left, {_memory()}"
        )

    def validation(self, epoch: int, metrics: Mapping[str, float], is_best: bool) -> None:
        """A line."""
        self.note(f"epoch {epoch} validation: {_shown(metrics)}{' (best)' if is_best else ''}")

    def progress(self, label: str, done: int, total: int) -> None:
        """A line, if it is time for one, and at the end."""
        if done >= total or self._is_time():
            self.note(f"{label}: {done}/{total}")

    def note(self, text: str) -> None:
        """A line."""
        print(text, file=self._stream or sys.stderr, flush=True)

    def close(self) -> None:
        """Nothing to end."""

    def _is_time(self) -> bool:
        now = self._clock()
        if self._shown is not None and now - self._shown < self._every_s:
            return False
        self._shown = now
        return True


class RichMonitor:
    """A live bar: epoch, step, time left, loss, learning rate, speed, memory; lines above it for what stays."""

    def __init__(self, console: Console | None = None, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._console = console or Console(stderr=True)
        self._bar: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._steps_per_epoch = self._epochs = self._samples = 0
        self._tokens: int | None = None
        self._pace = _Pace(0, 0, clock)

    def start(
        self,
        *,
        step: int,
        total_steps: int,
        steps_per_epoch: int,
        samples_per_step: int,
        tokens_per_step: int | None = None,
    ) -> None:
        """Show the bar."""
        self._steps_per_epoch, self._samples, self._tokens = steps_per_epoch, samples_per_step, tokens_per_step
        self._epochs = -(-total_steps // steps_per_epoch)
        self._pace = _Pace(step, total_steps, self._clock)
        self._update("train", step, total_steps, f"epoch {_epoch(step, steps_per_epoch)}/{self._epochs}")

    def step(self, step: int, values: Mapping[str, float], learning_rate: float) -> None:
        """Move the bar."""
        speed = _speed(self._pace.steps_per_second(step), self._samples, self._tokens)
        details = f"{_shown({'loss': values['loss']}) + '  ' if 'loss' in values else ''}lr {learning_rate:.1e}"
        label = f"epoch {_epoch(step, self._steps_per_epoch)}/{self._epochs}"
        self._update("train", step, None, label, f"{details}  {speed}  {_memory()}")

    def validation(self, epoch: int, metrics: Mapping[str, float], is_best: bool) -> None:
        """A line above the bar."""
        self.note(f"epoch {epoch} validation: {_shown(metrics)}{' (best)' if is_best else ''}")

    def progress(self, label: str, done: int, total: int) -> None:
        """A bar of its own, gone when done."""
        self._update(label, done, total, label)
        if done >= total and self._bar is not None:
            self._bar.remove_task(self._tasks.pop(label))

    def note(self, text: str) -> None:
        """A line above the bar."""
        self._console.print(text, markup=False, highlight=False)

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self._bar is not None:
            self._bar.stop()
            self._bar, self._tasks = None, {}

    def _update(self, name: str, done: int, total: int | None, label: str, details: str = "") -> None:
        if self._bar is None:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                RemainingColumn(),
                TextColumn("{task.fields[details]}"),
                console=self._console,
            )
            self._bar.start()
        if name not in self._tasks:
            self._tasks[name] = self._bar.add_task(label, total=total, completed=done, details=details)
        changes: dict[str, Any] = {"total": total} if total is not None else {}
        self._bar.update(self._tasks[name], completed=done, description=label, details=details, **changes)


def make_monitor(progress: Literal["auto", "rich", "plain", "none"] = "auto") -> Monitor:
    """The monitor that `system.progress` names; `auto` is `rich` where stderr is a terminal, else `plain`."""
    if progress == "none":
        return SilentMonitor()
    if progress == "rich" or (progress == "auto" and sys.stderr.isatty()):
        return RichMonitor(Console(stderr=True, force_terminal=True if progress == "rich" else None))
    return PlainMonitor()


def _epoch(step: int, steps_per_epoch: int) -> int:
    """The epoch (from 1) that the step with this count belongs to."""
    return max(0, step - 1) // max(1, steps_per_epoch) + 1


def _shown(values: Mapping[str, float], first: str | None = None) -> str:
    names = sorted(values, key=lambda name: name != first)
    return "  ".join(f"{name} {values[name]:.4g}" for name in names)


def _speed(steps_per_second: float, samples: int, tokens: int | None) -> str:
    shown = f"{steps_per_second * samples:.0f} samples/s"
    return f"{shown} {steps_per_second * tokens:.0f} tokens/s" if tokens is not None else shown


def _memory() -> str:
    """`512 MB`, and the device's where it tells."""
    used = memory_in_use()
    device = f", device {used['device_mb']:.0f} MB" if "device_mb" in used else ""
    return f"{used['host_mb']:.0f} MB{device}"


def _duration(seconds: float) -> str:
    if seconds == float("inf"):
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
