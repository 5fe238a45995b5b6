"""A step's measurements: brought from the device, and averaged between two lines of the log."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from orchestai_jax.training.update import SKIPPED


def read_measurements(measurements: Mapping[str, Any]) -> tuple[dict[str, float], dict[str, Any]]:
    """(scalars as numbers, arrays as they are), all scalars fetched at once."""
    scalars = {name: value for name, value in measurements.items() if np.ndim(value) == 0}
    arrays = {name: value for name, value in measurements.items() if name not in scalars}
    return {name: float(value) for name, value in jax.device_get(scalars).items()}, arrays


@dataclasses.dataclass
class Window:
    """Sums of the measurements since the last line of metrics, a part of the loop's JSON state."""

    sums: dict[str, float] = dataclasses.field(default_factory=dict)
    count: int = 0
    """Steps in the sums: those whose update was applied."""
    latest: dict[str, float] = dataclasses.field(default_factory=dict)
    """Of counts, which are not averaged: the newest value."""

    def add(self, values: Mapping[str, float], *, applied: bool) -> None:
        """Take a step in; of one whose update was refused the counts only."""
        if SKIPPED in values:
            self.latest[SKIPPED] = values[SKIPPED]
        if applied:
            for name, value in values.items():
                if name != SKIPPED:
                    self.sums[name] = self.sums.get(name, 0.0) + value
            self.count += 1

    def take(self) -> dict[str, float]:
        """The means and counts, and begin anew."""
        means = {name: total / self.count for name, total in self.sums.items()} | self.latest
        self.sums, self.count, self.latest = {}, 0, {}
        return means
