"""Where metrics go beside metrics.jsonl: TensorBoard files, MLflow, Weights & Biases."""

from orchestai_jax.training.trackers.opening import open_trackers
from orchestai_jax.training.trackers.tracker import Tracker

__all__ = ["Tracker", "open_trackers"]
