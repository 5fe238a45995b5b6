"""The trackers that a configuration names."""

from __future__ import annotations

import pathlib
from typing import Any

from orchestai_jax.config import AnyRunConfig
from orchestai_jax.training.errors import TrainingError
from orchestai_jax.training.trackers.tracker import Tracker


def open_trackers(config: AnyRunConfig, workdir: str | pathlib.Path, resumed_at: int = 0) -> list[Tracker]:
    """Open what `monitoring.trackers` names, for a run that goes on after step `resumed_at`.

    Raises TrainingError where a tracker's extra is not installed.
    """
    folder, settings = pathlib.Path(workdir), config.monitoring
    parameters = _flat(config.model_dump(mode="json"))
    opened: list[Tracker] = []
    for name in settings.trackers:
        try:
            if name == "tensorboard":
                from orchestai_jax.training.trackers.tensorboard import TensorBoardTracker

                opened.append(TensorBoardTracker(folder, resumed_at))
            elif name == "mlflow":
                from orchestai_jax.training.trackers.mlflow import MlflowTracker

                opened.append(MlflowTracker(folder, config.name, settings.mlflow_store, parameters))
            else:
                from orchestai_jax.training.trackers.wandb import WandbTracker

                opened.append(WandbTracker(folder, config.name, parameters))
        except ImportError as error:
            raise TrainingError(
                f"monitoring.trackers: {name} needs {error.name}; install orchestai-jax[{name}] or leave it out"
            ) from None
    return opened


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
