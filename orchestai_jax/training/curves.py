"""A run's curves as a picture: losses, validation metrics, gradient norms and the learning rate over the steps."""

from __future__ import annotations

import pathlib
from typing import Any

from orchestai_jax.training.errors import TrainingError
from orchestai_jax.training.metrics_log import METRICS_FILE, read_metrics
from orchestai_jax.training.update import SKIPPED

GRADIENT_NORM = "gradient_norm"
_MOST_NAMES = 36  # of a legend; a planner has more layers than a picture has room for their names


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
    figure = draw(lines)
    target = pathlib.Path(out) if out is not None else pathlib.Path(workdir) / "curves.png"
    try:
        figure.savefig(target, dpi=120, format="png")
    except OSError as error:
        raise TrainingError(f"{target}: cannot be written ({error.strerror})") from None
    return target


def draw(lines: list[dict[str, Any]]) -> Any:
    """The figure of a run's lines: four panels over the steps.

    Losses of training and validation share a panel, so that a validation loss that turns up is seen at once. The
    second holds the validation metrics that are shares (from 0 to 1), the third the gradient's norm, whole and by
    layer, with a line where an event was, the fourth the learning rate. Raises TrainingError without matplotlib.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise TrainingError("drawing curves needs matplotlib; install orchestai-jax[tools]") from None
    train, validation, layers = (series_of(lines, split) for split in ("train", "validation", "layers"))
    figure = Figure(figsize=(15, 8), layout="constrained")
    FigureCanvasAgg(figure)
    losses, shares, gradients, rate = figure.subplots(2, 2).ravel()
    for name, (steps, values) in train.items():
        if name != GRADIENT_NORM and name != SKIPPED:
            losses.plot(steps, values, label=f"train {name}", linewidth=2 if name == "loss" else 1)
    for name, (steps, values) in validation.items():
        if "loss" in name:
            losses.plot(steps, values, marker="o", label=f"validation {name}")
        elif all(0 <= value <= 1 for value in values):
            shares.plot(steps, values, marker="o", label=name)
    for name, (steps, values) in layers.items():
        if name.startswith(f"{GRADIENT_NORM}/"):
            gradients.plot(steps, values, label=name.removeprefix(f"{GRADIENT_NORM}/"), linewidth=1)
    if GRADIENT_NORM in train:
        gradients.plot(*train[GRADIENT_NORM], label="all", color="black", linewidth=2)
        gradients.set_yscale("log")
    for step in sorted({line["step"] for line in lines if line["split"] == "event"}):
        gradients.axvline(step, color="tab:red", linestyle=":")
    rates = [(line["step"], line["learning_rate"]) for line in lines if line["split"] == "train"]
    rate.plot([step for step, _ in rates], [value for _, value in rates])
    titles = {"losses": losses, "validation": shares, "gradient norm": gradients, "learning rate": rate}
    for title, panel in titles.items():
        panel.set_title(title)
        panel.set_xlabel("step")
        panel.grid(alpha=0.3)
        count = len(panel.get_legend_handles_labels()[1])
        if 0 < count <= _MOST_NAMES:
            panel.legend(fontsize="small", ncols=1 + count // 12)
    return figure
