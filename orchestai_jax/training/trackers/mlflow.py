"""MLflow (extra `mlflow`): a run in a tracking store, by default a SQLite file in the work folder."""

from __future__ import annotations

import pathlib
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from orchestai_jax.training.trackers.tracker import bin_centers

STORE_FILE, RUN_FILE = "mlflow.db", "mlflow_run.txt"
_MOST_METRICS = 1000  # of one request


class MlflowTracker:
    """Logs into the run whose id stands in the work folder, which a resumption goes on with."""

    def __init__(self, workdir: pathlib.Path, name: str, store: str | None, parameters: Mapping[str, Any]):
        from mlflow import MlflowClient
        from mlflow.entities import Metric

        self._metric = Metric
        self._client = MlflowClient(tracking_uri=store or f"sqlite:///{(workdir / STORE_FILE).absolute()}")
        known = workdir / RUN_FILE
        if known.exists():
            self.run_id = known.read_text(encoding="utf-8").strip()
            self._client.update_run(self.run_id, status="RUNNING")
            return
        found = self._client.get_experiment_by_name("orchestai")
        folder = (workdir / "mlflow_artifacts").absolute().as_uri()
        experiment = found.experiment_id if found else self._client.create_experiment("orchestai", folder)
        self.run_id = self._client.create_run(experiment, run_name=name).info.run_id
        known.write_text(self.run_id + "\n", encoding="utf-8")
        for key, value in parameters.items():
            self._client.log_param(self.run_id, key, str(value)[:500])

    def scalars(self, step: int, split: str, values: Mapping[str, float]) -> None:
        """Metrics `split/name`, all in one request."""
        now = int(time.time() * 1000)
        metrics = [self._metric(f"{split}/{name}", value, now, step) for name, value in values.items()]
        for at in range(0, len(metrics), _MOST_METRICS):
            self._client.log_batch(self.run_id, metrics=metrics[at : at + _MOST_METRICS])

    def histogram(self, step: int, name: str, edges: np.ndarray, counts: np.ndarray) -> None:
        """MLflow has no histograms: their mean and 99 % quantile."""
        if not counts.sum():
            return
        middles = bin_centers(edges)
        highest = middles[np.searchsorted(np.cumsum(counts), 0.99 * counts.sum())]
        mean = float((middles * counts).sum() / counts.sum())
        self.scalars(step, "histograms", {f"{name}/mean": mean, f"{name}/p99": float(highest)})

    def text(self, step: int, name: str, text: str) -> None:
        """A tag of the run."""
        self._client.set_tag(self.run_id, f"{name} at step {step}", text)

    def close(self) -> None:
        """Mark the run as ended."""
        self._client.set_terminated(self.run_id)
