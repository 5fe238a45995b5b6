"""Where a run's lines of metrics go: metrics.jsonl always, and whatever trackers there are."""

from __future__ import annotations

import pathlib
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from orchestai_jax.training.memory import memory_in_use
from orchestai_jax.training.metrics_log import METRICS_FILE, MetricsLog
from orchestai_jax.training.processes import is_lead
from orchestai_jax.training.trackers import Tracker


class Recorder:
    """Writes lines, with the seconds of training so far; opened at the step that a run goes on after."""

    def __init__(
        self,
        workdir: str | pathlib.Path,
        step: int,
        steps_per_epoch: int,
        wall_s: float,
        open_trackers: Callable[[int], Sequence[Tracker]],
    ):
        self._log: MetricsLog | None = None
        self._trackers: Sequence[Tracker] = ()
        if is_lead():  # of several processes one writes
            path = pathlib.Path(workdir) / METRICS_FILE
            path.parent.mkdir(parents=True, exist_ok=True)
            self._log = MetricsLog.resumed_at(path, step)
            self._trackers = open_trackers(step)
        self._steps_per_epoch = steps_per_epoch
        self._started = time.monotonic() - wall_s
        self._last = (time.monotonic(), step)
        """When the speed was told last, and at which step."""

    @property
    def wall_s(self) -> float:
        """Seconds of training, those before a resumption included."""
        return time.monotonic() - self._started

    def line(self, step: int, split: str, values: Mapping[str, float | str], learning_rate: float) -> None:
        """One line of a split."""
        if self._log is None:
            return
        self._log.write(
            step=step,
            epoch=(step - 1) // self._steps_per_epoch + 1,
            split=split,
            values=values,
            learning_rate=learning_rate,
            wall_s=self.wall_s,
        )
        numbers = {name: value for name, value in values.items() if not isinstance(value, str)}
        if split == "train":
            numbers["learning_rate"] = learning_rate
        for tracker in self._trackers:
            if split == "event":
                tracker.text(step, str(values["event"]), ", ".join(f"{name} {v}" for name, v in values.items()))
            else:
                tracker.scalars(step, split, numbers)

    def system(self, step: int, samples_per_step: int, tokens_per_step: int | None) -> None:
        """Speed since the last call, and memory: to trackers only, for they are no two times the same."""
        if not self._trackers:
            return
        (before, first), now = self._last, time.monotonic()
        self._last = (now, step)
        pace = (step - first) / max(now - before, 1e-9)
        values = {"samples_per_s": pace * samples_per_step, **memory_in_use()}
        if tokens_per_step is not None:
            values["tokens_per_s"] = pace * tokens_per_step
        for tracker in self._trackers:
            tracker.scalars(step, "system", values)

    def histogram(self, step: int, name: str, edges: np.ndarray, counts: np.ndarray) -> None:
        """To trackers: JSON lines of them would be long."""
        for tracker in self._trackers:
            tracker.histogram(step, name, edges, counts)

    def sync(self) -> None:
        """Make sure that what is written survives a power cut."""
        if self._log is not None:
            self._log.sync()

    def close(self) -> None:
        """Close everything."""
        try:
            for tracker in self._trackers:
                tracker.close()
        finally:
            if self._log is not None:
                self._log.close()
