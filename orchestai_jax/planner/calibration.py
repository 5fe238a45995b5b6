"""From the decoder's probabilities to ones that can be trusted: Platt scaling fitted on validation plans."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

_PREFIX = "calibration_"
_CLIP = 1e-6


@dataclasses.dataclass(frozen=True, slots=True)
class PlattScaling:
    """p' = sigmoid(scale * logit(p) + bias) (Platt 1999); Guo et al.'s temperature (2017) is 1 / scale."""

    scale: float = 1.0
    bias: float = 0.0

    def __call__(self, probability: float) -> float:
        """The calibrated probability, in (0, 1)."""
        clipped = min(max(probability, _CLIP), 1 - _CLIP)  # as _logit, which takes ten times as long for one number
        z = self.scale * (math.log(clipped) - math.log1p(-clipped)) + self.bias
        return 1 / (1 + math.exp(-min(max(z, -30.0), 30.0)))


@dataclasses.dataclass(frozen=True, slots=True)
class Calibration:
    """How a planner's own probabilities are turned into confidences; as they are where nothing was fitted."""

    task: PlattScaling = PlattScaling()
    """Of a task: that its type is among those wanted."""
    plan: PlattScaling = PlattScaling()
    """Of a plan: that its set of task types is exactly the one wanted."""

    def to_metrics(self) -> dict[str, float]:
        """As numbers by name, which is how a checkpoint keeps them."""
        return {
            f"{_PREFIX}{part}_{name}": getattr(getattr(self, part), name)
            for part in ("task", "plan")
            for name in ("scale", "bias")
        }

    @classmethod
    def from_metrics(cls, metrics: Mapping[str, float]) -> Calibration:
        """What `to_metrics` gave; the identity where a checkpoint has none."""
        read = {
            part: PlattScaling(
                metrics.get(f"{_PREFIX}{part}_scale", 1.0),
                metrics.get(f"{_PREFIX}{part}_bias", 0.0),
            )
            for part in ("task", "plan")
        }
        return cls(**read)


def fit_platt(probabilities: Sequence[float], outcomes: Sequence[bool]) -> PlattScaling:
    """The scale and bias of least cross-entropy against Platt's smoothed targets, by Newton's method (Lin et al. 2007).

    Probabilities that say nothing (all equal, or all outcomes equal) still get a bias; without samples, the identity.
    """
    if len(probabilities) != len(outcomes):
        raise ValueError(f"{len(probabilities)} probabilities for {len(outcomes)} outcomes; give one each")
    if not outcomes:
        return PlattScaling()
    x = _logit(np.asarray(probabilities, np.float64))
    right = np.asarray(outcomes, bool)
    positives, negatives = int(right.sum()), int((~right).sum())
    target = np.where(right, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    design = np.stack([x, np.ones_like(x)], axis=1)
    ridge = 1e-3 * np.eye(2)  # a weak pull to the identity keeps what the data does not say finite
    start = np.array([1.0, 0.0])

    def loss(w: NDArray[np.floating]) -> float:
        z = design @ w
        return float(np.sum(np.logaddexp(0, z) - target * z) + 0.5 * (w - start) @ ridge @ (w - start))

    w = start
    for _ in range(100):
        p = 1 / (1 + np.exp(-np.clip(design @ w, -500, 500)))
        gradient = design.T @ (p - target) + ridge @ (w - start)
        hessian = (design * (p * (1 - p))[:, None]).T @ design + ridge
        step = np.linalg.solve(hessian, gradient)
        rate = 1.0
        while loss(w - rate * step) > loss(w) and rate > 1e-8:
            rate /= 2
        w = w - rate * step
        if np.abs(rate * step).max() < 1e-10:
            break
    # A confidence that falls as the decoder's own probability rises would be noise of a small validation part.
    return PlattScaling(float(max(w[0], 0.0)), float(w[1])) if w[0] >= 0 else PlattScaling(0.0, _log_odds(target))


def _log_odds(target: NDArray[np.float64]) -> float:
    return float(_logit(np.float64(target.mean())))


def _logit(p: ArrayLike) -> NDArray[np.float64]:
    p = np.clip(np.asarray(p, np.float64), _CLIP, 1 - _CLIP)
    return np.log(p) - np.log1p(-p)
