"""Weights & Biases (extra `wandb`); with WANDB_MODE=offline everything stays in the work folder."""

from __future__ import annotations

import pathlib
import secrets
from collections.abc import Mapping
from typing import Any

import numpy as np

RUN_FILE = "wandb_run.txt"


class WandbTracker:
    """Logs into a run of the project `orchestai`, which a resumption goes on with."""

    def __init__(self, workdir: pathlib.Path, name: str, parameters: Mapping[str, Any]):
        import wandb

        self._wandb = wandb
        known = workdir / RUN_FILE
        if not known.exists():
            known.write_text(secrets.token_hex(4) + "\n", encoding="utf-8")
        self._run = wandb.init(
            project="orchestai",
            name=name,
            id=known.read_text(encoding="utf-8").strip(),
            resume="allow",
            dir=str(workdir),
            config=dict(parameters),
            settings=wandb.Settings(console="off", silent=True),
        )

    def scalars(self, step: int, split: str, values: Mapping[str, float]) -> None:
        """Values `split/name` at a step."""
        self._run.log({f"{split}/{name}": value for name, value in values.items()}, step=step)

    def histogram(self, step: int, name: str, edges: np.ndarray, counts: np.ndarray) -> None:
        """A histogram of its own."""
        self._run.log({name: self._wandb.Histogram(np_histogram=(counts, edges))}, step=step)

    def text(self, step: int, name: str, text: str) -> None:
        """An alert would be mail to somebody: the text goes to the run's summary."""
        self._run.summary[f"{name} at step {step}"] = text

    def close(self) -> None:
        """Upload what waits, and end the run."""
        self._run.finish()
