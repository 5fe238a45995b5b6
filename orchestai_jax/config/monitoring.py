"""What is measured and written while something is trained."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from orchestai_jax.config.section import Section


class MonitoringConfig(Section):
    """What is measured of a run, and who is told, beside metrics.jsonl."""

    trackers: tuple[Literal["tensorboard", "mlflow", "wandb"], ...] = ("tensorboard",)
    """Where metrics go: TensorBoard files, MLflow (extra `mlflow`), Weights & Biases (extra `wandb`)."""
    mlflow_store: str | None = None
    """MLflow's tracking store (null = a SQLite file in the work folder)."""
    layer_norms_every_steps: int | None = Field(default=50, ge=1)
    """Steps between two measurements of each layer's gradient, parameter and update norm (null = never)."""
    histograms_every_steps: int | None = Field(default=500, ge=1)
    """Steps between two histograms of each layer's gradients and parameters (null = never)."""
    explosion_norm: float = Field(default=1e3, gt=0)
    """A layer's gradient norm over this is reported as exploding."""
    vanishing_norm: float = Field(default=1e-8, ge=0)
    """A layer's gradient norm under this is reported as vanishing."""
