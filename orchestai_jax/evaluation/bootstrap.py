"""Percentile bootstrap over samples: how far a figure could move had other samples been drawn."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

_BLOCK_ELEMENTS = 4_000_000  # resampled indices held in memory at once


def bootstrap_interval(
    values: ArrayLike,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None = None,
) -> tuple[float, float]:
    """Confidence interval of a mean, or of a figure made of means, by resampling whole samples.

    Args:
        values: One figure a sample, shape [samples], or several, [samples, columns] (for example the counts that a
            pooled F1 is made of).
        confidence: Share of the bootstrap distribution inside the interval, in (0, 1).
        resamples: How many times the samples are drawn with replacement.
        seed: Of the resampling; the same seed gives the same interval.
        statistic: Turns means, [resamples, columns], into figures, [resamples]. Needed when `values` has columns.

    Returns:
        Lower and upper bound: the percentiles (1 - confidence) / 2 and (1 + confidence) / 2 (Efron, 1979).

    Raises:
        ValueError: for no samples, values that are not finite, or a setting outside its range.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim not in (1, 2) or array.shape[0] == 0:
        raise ValueError(f"values has shape {array.shape}; give [samples] or [samples, columns] with at least 1 sample")
    if not np.isfinite(array).all():
        raise ValueError("values holds NaN or infinity; leave such samples out and say how many they were")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}; give a share between 0 and 1, such as 0.95")
    if resamples < 1:
        raise ValueError(f"resamples is {resamples}; give at least 1 (2000 is usual)")
    if array.ndim == 2 and statistic is None:
        raise ValueError(f"values has {array.shape[1]} columns; give the statistic that makes a figure of them")

    rng = np.random.default_rng(seed)
    n = array.shape[0]
    block = max(1, _BLOCK_ELEMENTS // n)
    means = np.concatenate(
        [
            array[rng.integers(0, n, size=(min(block, resamples - start), n))].mean(axis=1)
            for start in range(0, resamples, block)
        ]
    )
    figures = means if statistic is None else np.asarray(statistic(means))
    lower, upper = np.quantile(figures, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(lower), float(upper)
