"""A run's curves as a picture: losses, validation metrics and the learning rate over the steps."""

from __future__ import annotations

import pathlib
from typing import Any

from orchestai_jax.training.errors import TrainingError
from orchestai_jax.training.metrics_log import METRICS_FILE, read_metrics


def series_of(lines: list[dict[str, Any]], split: str) -> dict[str, tuple[list[int], list[float]]]:
    """Each value of a split's lines as (steps, values), in the order of first appearance."""
    series: dict[str, tuple[list[int], list[float]]] = {}
    for line in lines:
        if line["split"] == split:
            for name, value in line["values"].items():
                steps, values = series.setdefault(name, ([], []))
                steps.append(line["step"])
                values.append(value)
    return series


def plot_curves(workdir: str | pathlib.Path, out: str | pathlib.Path | None = None) -> pathlib.Path:
    """Draw the metrics of a run as PNG (`curves.png` in the work folder, or `out`). Returns its path.

    Losses of training and validation share a panel, so that a validation loss that turns up is seen at once.

    Raises TrainingError where there are no metrics, and where matplotlib is not installed.
    """
    path = pathlib.Path(workdir) / METRICS_FILE
    if not path.exists():
        raise TrainingError(f"{workdir}: no {METRICS_FILE} in it; give the --workdir of a run that has begun")
    try:
        lines = read_metrics(path)
    except ValueError as error:
        raise TrainingError(str(error)) from None
    if not lines:
        raise TrainingError(
            f"{path}: holds no metrics yet; the first come after training.phase1_supervised.log_every_steps"
        )
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise TrainingError("drawing curves needs matplotlib; install orchestai-jax[tools]") from None
    train, validation = series_of(lines, "train"), series_of(lines, "validation")
    figure = Figure(figsize=(15, 4), layout="constrained")
    FigureCanvasAgg(figure)
    losses, metrics, rate = figure.subplots(1, 3)
    for name, (steps, values) in train.items():
        losses.plot(steps, values, label=f"train {name}", linewidth=2 if name == "loss" else 1)
    for name, (steps, values) in validation.items():
        panel = losses if "loss" in name else metrics
        panel.plot(steps, values, marker="o", label=f"validation {name}" if panel is losses else name)
    rates = [(line["step"], line["learning_rate"]) for line in lines if line["split"] == "train"]
    rate.plot([step for step, _ in rates], [value for _, value in rates])
    for panel, title in ((losses, "losses"), (metrics, "validation"), (rate, "learning rate")):
        panel.set_title(title)
        panel.set_xlabel("step")
        panel.grid(alpha=0.3)
        if panel.get_legend_handles_labels()[1]:
            panel.legend(fontsize="small")
    target = pathlib.Path(out) if out is not None else pathlib.Path(workdir) / "curves.png"
    try:
        figure.savefig(target, dpi=120, format="png")
    except OSError as error:
        raise TrainingError(f"{target}: cannot be written ({error.strerror})") from None
    return target
