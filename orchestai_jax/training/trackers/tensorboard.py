"""TensorBoard event files, by tensorboardX: no TensorFlow, no torch."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping

import numpy as np
from tensorboardX import SummaryWriter

from orchestai_jax.training.trackers.tracker import bin_centers

FOLDER = "tensorboard"


class TensorBoardTracker:
    """Writes into `tensorboard` in the work folder; tags are `split/name`."""

    def __init__(self, workdir: pathlib.Path, resumed_at: int):
        # TensorBoard forgets the steps that a killed run had written after the checkpoint that is gone on from.
        purged = resumed_at + 1 if resumed_at else None
        own = f".{resumed_at}.{os.getpid()}"  # tensorboardX would write over a file of the same second
        self._writer = SummaryWriter(str(workdir / FOLDER), flush_secs=30, purge_step=purged, filename_suffix=own)

    def scalars(self, step: int, split: str, values: Mapping[str, float]) -> None:
        """One tag a value."""
        for name, value in values.items():
            self._writer.add_scalar(f"{split}/{name}", value, step)

    def histogram(self, step: int, name: str, edges: np.ndarray, counts: np.ndarray) -> None:
        """As TensorBoard's own histograms; the sums are those of the bins' middles."""
        middles, filled = bin_centers(edges), np.flatnonzero(counts)
        self._writer.add_histogram_raw(
            name,
            min=float(edges[filled[0]]) if filled.size else 0.0,
            max=float(edges[filled[-1] + 1]) if filled.size else 0.0,
            num=int(counts.sum()),
            sum=float((middles * counts).sum()),
            sum_squares=float((middles**2 * counts).sum()),
            bucket_limits=edges[1:].tolist(),
            bucket_counts=counts.tolist(),
            global_step=step,
        )

    def text(self, step: int, name: str, text: str) -> None:
        """A text summary."""
        self._writer.add_text(name, text, step)

    def close(self) -> None:
        """Flush and close the file."""
        self._writer.close()
