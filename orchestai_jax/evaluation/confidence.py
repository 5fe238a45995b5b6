"""How far confidences can be trusted: expected calibration error, and accuracy against coverage."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float


def calibration_error(
    confidences: Float[np.ndarray, "n"], outcomes: Bool[np.ndarray, "n"], bins: int = 10
) -> dict[str, float]:
    """Expected calibration error over bins of equally many samples, lowest confidences first.

    Returns `ece`, the mean distance of confidence and accuracy weighted by the bins' sizes (Naeini et al. 2015), which
    is above zero for a perfect model too, the more the fewer samples a bin has; and `ece_debiased`, the root of the
    mean squared distance less its expectation under perfect calibration (Kumar et al. 2019, section 4), which is not.

    Raises ValueError for no samples, unequal lengths, or fewer than one bin.
    """
    _check(confidences, outcomes)
    if bins < 1:
        raise ValueError(f"bins is {bins}; it must be at least 1")
    order = np.argsort(confidences, kind="stable")
    total, squared = 0.0, 0.0
    for part in np.array_split(order, min(bins, len(order))):
        accuracy = outcomes[part].mean()
        distance = abs(confidences[part].mean() - accuracy)
        variance = accuracy * (1 - accuracy) / max(len(part) - 1, 1)
        total += len(part) / len(order) * distance
        squared += len(part) / len(order) * (distance**2 - variance)
    return {"ece": float(total), "ece_debiased": float(np.sqrt(max(squared, 0.0)))}


def abstention_curve(
    confidences: Float[np.ndarray, "n"], outcomes: Bool[np.ndarray, "n"], points: int = 10
) -> list[dict[str, float]]:
    """Accuracy of the most confident share of samples, for each of `points` equally spaced shares up to all of them.

    Samples of equal confidence keep their order. Raises ValueError for no samples or unequal lengths.
    """
    _check(confidences, outcomes)
    order = np.argsort(-confidences, kind="stable")
    curve = []
    for k in range(1, points + 1):
        kept = order[: max(1, round(len(order) * k / points))]
        curve.append(
            {
                "coverage": len(kept) / len(order),
                "accuracy": float(outcomes[kept].mean()),
                "least_confidence": float(confidences[kept[-1]]),
            }
        )
    return curve


def _check(confidences: np.ndarray, outcomes: np.ndarray) -> None:
    if not len(confidences) or len(confidences) != len(outcomes):
        raise ValueError(f"{len(confidences)} confidences and {len(outcomes)} outcomes; give one each, at least one")
