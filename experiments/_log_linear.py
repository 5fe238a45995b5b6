"""A log-linear choice among candidates: probability proportional to exp(weights · features), with an L2 penalty."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.optimize
from numpy.typing import NDArray

Features = NDArray[np.float64]
"""[candidates, features] of one sample."""


def softmax(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Along the only axis."""
    e = np.exp(x - x.max())
    return e / e.sum()


def fit_log_linear(
    features: Sequence[Features], gains: Sequence[NDArray[np.float64]], temperature: float = 0.03, penalty: float = 1.0
) -> NDArray[np.float64]:
    """The weights [features] of least cross-entropy against softmax(gain / temperature), summed over samples.

    `gains` [candidates] say how good each candidate is; half of `penalty` times the squared norm is added.
    Raises ValueError where there are no samples, or not as many gains as candidates.
    """
    if not features:
        raise ValueError("no samples to fit on; give at least one")
    if [len(f) for f in features] != [len(g) for g in gains]:
        raise ValueError("every sample needs a gain for each candidate")
    most, width = max(len(f) for f in features), features[0].shape[1]
    x = np.zeros((len(features), most, width))
    real = np.zeros((len(features), most), bool)
    target = np.zeros((len(features), most))
    for row, (f, g) in enumerate(zip(features, gains, strict=True)):
        x[row, : len(f)], real[row, : len(f)] = f, True
        target[row, : len(f)] = softmax(np.asarray(g, np.float64) / temperature)

    def loss(w: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        z = np.where(real, x @ w, -np.inf)
        z = z - z.max(axis=1, keepdims=True)
        logp = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
        cross = -np.sum(target * np.where(real, logp, 0.0))
        gradient = np.einsum("nc,ncf->f", np.exp(logp) - target, x)
        return float(cross + penalty / 2 * np.dot(w, w)), gradient + penalty * w

    return scipy.optimize.minimize(loss, np.zeros(width), jac=True, method="L-BFGS-B").x


def standardised(features: Sequence[Features]) -> list[Features]:
    """Less each sample's mean (which a choice among its candidates does not see), over the common deviation."""
    centred = [f - f.mean(axis=0) for f in features]
    scale = np.concatenate(centred).std(axis=0)
    return [f / np.where(scale > 0, scale, 1.0) for f in centred]
