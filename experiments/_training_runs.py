"""Trainings of an experiment: begun, resumed, or reused when they are finished; and their curves."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import shutil
import time
from collections.abc import Callable, Sequence
from typing import Any

from orchestai_jax.config import RunConfig
from orchestai_jax.data import PlanningSample, save_samples
from orchestai_jax.training import METRICS_FILE, read_metrics, workdir_status
from orchestai_jax.training.workdir import CONFIG_FILE, prepare_workdir
from orchestai_jax.workflow import Catalog, save_catalog

TIMING_FILE = "timing.json"
FEW = (64, 16)
"""Training and validation samples of a `--quick` run."""

TINY_PLANNER = (
    "planner.encoder.weights=none",
    "planner.encoder.hidden_size=32",
    "planner.encoder.num_layers=1",
    "planner.encoder.num_heads=2",
    "planner.encoder.intermediate_size=64",
    "planner.encoder.vocab_size=512",
    "planner.encoder.max_tokens=32",
    "planner.decomposer.num_heads=2",
    "planner.graph_generator.hidden_size=16",
    "planner.worker_selector.hidden_size=8",
)
"""Sizes of a planner that trains in seconds, for `--quick`."""


@dataclasses.dataclass(frozen=True)
class TrainedRun:
    """A finished training."""

    workdir: pathlib.Path
    seed: int
    training_s: float
    """Seconds from the call to the finished planner where it was trained in one go; else those of its training loop."""
    in_one_go: bool
    reused: bool
    """Whether it was finished before this call."""
    best_step: int | None
    state: str
    """`finished`, or `stopped early`."""

    def as_dict(self) -> dict[str, Any]:
        """What results say of it."""
        return {
            "seed": self.seed,
            "training_s": round(self.training_s, 1),
            "trained_in_one_go": self.in_one_go,
            "best_step": self.best_step,
            "ended": self.state,
        }


def train_or_reuse(
    config: RunConfig, workdir: pathlib.Path, *, fresh: bool = False, say: Callable[[str], None] = print
) -> TrainedRun:
    """Train `config` in `workdir`, going on where it stopped, or reuse it where it is finished.

    `fresh` removes what is there first, if it is a work folder of a run.

    Raises:
        TrainingError: for a folder that was begun with another configuration, or holds something else.
    """
    if fresh and (workdir / CONFIG_FILE).exists():
        shutil.rmtree(workdir)
    begun = (workdir / CONFIG_FILE).exists()
    done = begun and workdir_status(workdir).state in ("finished", "stopped early")
    if done:
        prepare_workdir(workdir, config, resume=True)  # refuses a run of another configuration, naming what differs
        say(f"seed {config.seed}: reusing the finished run in {workdir} (--fresh trains again)")
    else:
        say(f"seed {config.seed}: {'resuming' if begun else 'training'} in {workdir}")
        from orchestai_jax.training.supervised import train_planner  # heavy, and a finished run does without it

        started = time.perf_counter()
        train_planner(config, workdir, begun)
        if not begun:
            timing = {"training_s": time.perf_counter() - started}
            (workdir / TIMING_FILE).write_text(json.dumps(timing) + "\n", encoding="utf-8")
    status = workdir_status(workdir)
    timing_file = workdir / TIMING_FILE
    in_one_go = timing_file.exists()
    return TrainedRun(
        workdir=workdir,
        seed=config.seed,
        training_s=json.loads(timing_file.read_text())["training_s"] if in_one_go else _loop_seconds(workdir),
        in_one_go=in_one_go,
        reused=done,
        best_step=status.best_step,
        state=status.state,
    )


def over_samples(
    config: RunConfig,
    train: Sequence[PlanningSample],
    validation: Sequence[PlanningSample],
    folder: pathlib.Path,
    catalog: Catalog | None = None,
) -> RunConfig:
    """The configuration over these samples, and this catalog if there is one, written below `folder` in the project's
    own format."""
    folder.mkdir(parents=True, exist_ok=True)
    data: dict[str, str | None] = {"format": "planning"}
    for name, samples in {"train": train, "validation": validation}.items():
        data[name] = str(folder / f"{name}.jsonl")
        save_samples(folder / f"{name}.jsonl", samples)
    if catalog is not None:
        data |= {"catalog": str(folder / "catalog.json"), "graph": None}
        save_catalog(catalog, folder / "catalog.json")
    return config.model_copy(update={"data": config.data.model_copy(update=data)})


def _loop_seconds(workdir: pathlib.Path) -> float:
    return max((line["wall_s"] for line in read_metrics(workdir / METRICS_FILE)), default=0.0)


def epoch_curve(workdir: pathlib.Path) -> list[dict[str, Any]]:
    """One entry an epoch: means of the training lines over the epoch, and its validation metrics."""
    epochs: dict[int, dict[str, Any]] = {}
    previous = 0
    for line in read_metrics(workdir / METRICS_FILE):
        entry = epochs.setdefault(line["epoch"], {"epoch": line["epoch"], "train": {}, "validation": {}, "_steps": 0})
        if line["split"] == "validation":
            entry["step"] = line["step"]
            entry["validation"] = line["values"]
        elif line["split"] == "train":
            # a line holds means over the steps since the line before
            steps, previous = line["step"] - previous, line["step"]
            before = entry["_steps"]
            for name, value in line["values"].items():
                mean = entry["train"].get(name, 0.0)
                entry["train"][name] = mean + (value - mean) * steps / (before + steps)
            entry["_steps"] = before + steps
    return [{k: v for k, v in entry.items() if k != "_steps"} for _, entry in sorted(epochs.items())]


def first_and_last(workdir: pathlib.Path, name: str, split: str) -> tuple[float, float] | None:
    """A metric in the first and the last line of a split; None where no line holds it."""
    values = [
        line["values"][name]
        for line in read_metrics(workdir / METRICS_FILE)
        if line["split"] == split and name in line["values"]
    ]
    return (values[0], values[-1]) if values else None


def plot_loss(runs: Sequence[TrainedRun], name: str, out: pathlib.Path, title: str, unit: str) -> pathlib.Path:
    """Draw a loss of training and validation over the steps, all seeds, as PNG.

    Thin lines are the means of the logged steps, dots the validation at the end of each epoch.

    Raises:
        ValueError: when no run holds the metric.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    drawn = 0
    for i, run in enumerate(runs):
        for split, colour in (("train", "tab:blue"), ("validation", "tab:orange")):
            points = [
                (line["step"], line["values"][name])
                for line in read_metrics(run.workdir / METRICS_FILE)
                if line["split"] == split and name in line["values"]
            ]
            if not points:
                continue
            drawn += 1
            style: dict[str, Any] = (
                {"linewidth": 0.9, "alpha": 0.7} if split == "train" else {"marker": "o", "markersize": 4}
            )
            label = f"{split} ({len(runs)} seeds)" if i == 0 else None
            axes.plot(*zip(*points, strict=True), color=colour, label=label, **style)
    if not drawn:
        raise ValueError(f"no run holds the metric {name}; nothing to draw")
    axes.axhline(0.5, color="grey", linestyle=":", linewidth=0.8)
    axes.set_xlabel("step")
    axes.set_ylabel(f"{name.replace('_', ' ')} ({unit})")
    axes.set_ylim(bottom=0)
    axes.set_title(title)
    axes.grid(alpha=0.3)
    axes.legend()
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=130, format="png", metadata={"Software": None})
    return out
