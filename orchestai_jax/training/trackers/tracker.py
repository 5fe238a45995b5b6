"""What every tracker does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np


class Tracker(Protocol):
    """Takes a run's metrics. Steps never go back; after a resumption the steps from there on may come a second time."""

    def scalars(self, step: int, split: str, values: Mapping[str, float]) -> None:
        """Values of a split (`train`, `validation`, `layers`, `system`) at a step."""
        ...

    def histogram(self, step: int, name: str, edges: np.ndarray, counts: np.ndarray) -> None:
        """Counts [bins] between edges [bins + 1], ascending."""
        ...

    def text(self, step: int, name: str, text: str) -> None:
        """A note: an event of the run."""
        ...

    def close(self) -> None:
        """Write out what waits, and end."""
        ...


def bin_centers(edges: np.ndarray) -> np.ndarray:
    """The middles of bins, [bins]."""
    return (edges[:-1] + edges[1:]) / 2
