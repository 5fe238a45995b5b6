"""Confidences of plans on a validation part: how far they can be trusted, and accuracy against coverage.

The scaling of a planner's probabilities is fitted on the same part when it is trained; here it is fitted anew on four
fifths of it and judged on the last fifth, five times, so that no confidence has seen its own outcome.
"""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from orchestai_jax.data import PlanningSample
from orchestai_jax.evaluation import abstention_curve, calibration_error, evaluate_planner
from orchestai_jax.planner import Planner
from orchestai_jax.planner.calibration import Calibration, fit_platt

PARTS = 5


def cross_fitted(probabilities: np.ndarray, outcomes: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Each probability scaled by what the others' groups say; `groups` are numbers, one a sample."""
    found = np.empty(len(probabilities))
    for part in range(PARTS):
        held_out = groups % PARTS == part
        fitted = fit_platt(probabilities[~held_out].tolist(), (outcomes[~held_out] > 0).tolist())
        found[held_out] = [fitted(p) for p in probabilities[held_out]]
    return found


def measure(workdir: pathlib.Path, samples: Sequence[PlanningSample]) -> dict[str, Any]:
    """Calibration errors of plans and tasks, the abstention curve, and the pairs that they are of.

    Args:
        workdir: of a trained planner.
        samples: none that it was trained on; at least five.
    """
    planner = Planner.from_checkpoint(workdir)
    planner.calibration = Calibration()  # the decoder's own probabilities
    report = evaluate_planner(planner, samples)
    right = report.scores.accuracy > 0
    plans = cross_fitted(report.plan_confidences, right, np.arange(len(right)))
    tasks = report.task_confidences
    of_tasks = cross_fitted(tasks[:, 0], tasks[:, 1], np.arange(len(tasks)))
    return {
        "plan": calibration_error(plans, right),
        "task": calibration_error(of_tasks, tasks[:, 1] > 0),
        "abstention": abstention_curve(plans, right, points=20),
        "pairs": [[round(float(p), 4), bool(r)] for p, r in zip(plans, right, strict=True)],
    }


def summary(measured: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means over seeds, and of each what is asked for: errors of at most .03, the surest half right in nine of ten."""
    half = [min(m["abstention"], key=lambda point: abs(point["coverage"] - 0.5))["accuracy"] for m in measured]
    errors = {part: float(np.mean([m[part]["ece"] for m in measured])) for part in ("plan", "task")}
    debiased = {part: float(np.mean([m[part]["ece_debiased"] for m in measured])) for part in ("plan", "task")}
    surest = float(np.mean(half))
    return {
        "calibration_error": errors,
        "calibration_error_debiased": debiased,
        "accuracy_of_surest_half": surest,
        "asked_for": {
            "calibration_error": {"at_most": 0.03, "reached": max(errors.values()) <= 0.03},
            "accuracy_of_surest_half": {"at_least": 0.9, "reached": surest >= 0.9},
        },
        "seeds": list(measured),
    }


def plot(measured: Sequence[dict[str, Any]], path: pathlib.Path, title: str) -> None:
    """Accuracy against coverage, a line a seed; and confidence against accuracy in ten bins, a point a bin and seed."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for seed, found in enumerate(measured):
        coverage, accuracy = zip(*((p["coverage"], p["accuracy"]) for p in found["abstention"]), strict=True)
        left.plot(coverage, accuracy, marker=".", label=f"seed {seed}")
        confidence, outcome = (np.array(x, float) for x in zip(*found["pairs"], strict=True))
        bins = [b for b in np.array_split(np.argsort(confidence, kind="stable"), 10) if len(b)]
        right.plot([confidence[b].mean() for b in bins], [outcome[b].mean() for b in bins], "o", alpha=0.7)
    left.axhline(0.9, color="grey", linewidth=0.8, linestyle=":")
    left.set(xlabel="share of plans given out, the surest first", ylabel="share of them that is right", ylim=(0, 1.02))
    left.legend(frameon=False)
    right.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
    right.set(xlabel="confidence", ylabel="share right", xlim=(0, 1), ylim=(0, 1.02))
    figure.suptitle(title)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)
