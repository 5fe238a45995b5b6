"""Learning-rate schedules: a linear warm-up from 0, then a line, half a cosine, a plateau with a fall, or a constant.

All are exact at their corners: 0 at step 0 (where there is a warm-up), `peak` at `warmup_steps`, the end value at the
last step, `total_steps - 1`, and after it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

Schedule = Callable[[Any], Any]
"""Step (a number or a traced scalar) to learning rate, float32."""


def warmup_linear(peak: float, total_steps: int, warmup_steps: int = 0) -> Schedule:
    """0 at step 0, `peak` at `warmup_steps`, a line to 0 at the last step; `peak` at step 0 without a warm-up."""
    return _schedule(peak, total_steps, warmup_steps, lambda xp, progress: 1 - progress)


def warmup_cosine(peak: float, total_steps: int, warmup_steps: int = 0) -> Schedule:
    """0 at step 0, `peak` at `warmup_steps`, half a cosine to 0 at the last step (Loshchilov & Hutter 2017, eq. 5)."""

    # 1 - sin² in place of (1 + cos) / 2: exactly 1 at its start in float32, and 0 at its end (clipped below).
    def fall(xp: Any, progress: Any) -> Any:
        return xp.where(progress >= 1, 0, 1 - xp.sin(progress * np.float32(np.pi / 2)) ** 2)

    return _schedule(peak, total_steps, warmup_steps, fall)


def warmup_stable_decay(peak: float, total_steps: int, warmup_steps: int = 0, decay_fraction: float = 0.2) -> Schedule:
    """0 at step 0, `peak` from `warmup_steps` on, then a line to 0 at the last step (Hu et al. 2024, MiniCPM, eq. 1).

    Args:
      peak: highest rate.
      total_steps: steps in all.
      warmup_steps: where the peak is reached.
      decay_fraction: share of the steps after the warm-up over which the rate falls.
    """
    if not 0 < decay_fraction <= 1:
        raise ValueError(f"decay_fraction is {decay_fraction}; it must be over 0 and at most 1")

    def fall(xp: Any, progress: Any) -> Any:
        return xp.clip((1 - progress) / np.float32(decay_fraction), 0, 1)

    return _schedule(peak, total_steps, warmup_steps, fall)


def constant(peak: float, total_steps: int, warmup_steps: int = 0) -> Schedule:
    """0 at step 0, `peak` from `warmup_steps` on."""
    return _schedule(peak, total_steps, warmup_steps, lambda xp, progress: xp.ones_like(progress))


SCHEDULES: dict[str, Callable[[float, int, int], Schedule]] = {
    "warmup_linear": warmup_linear,
    "warmup_cosine": warmup_cosine,
    "warmup_stable_decay": warmup_stable_decay,
    "constant": constant,
}
"""By the name that configurations use."""


def _schedule(peak: float, total_steps: int, warmup_steps: int, fall: Callable[[Any, Any], Any]) -> Schedule:
    if total_steps < 1 or not 0 <= warmup_steps < total_steps:
        raise ValueError(
            f"warmup_steps is {warmup_steps} of total_steps {total_steps}; total_steps must be at least 1 "
            "and warmup_steps from 0 to one below it"
        )

    def learning_rate(step: Any) -> Any:
        xp: Any = np if isinstance(step, (int, np.integer)) else jnp
        at = xp.asarray(step, dtype=np.float32)
        rise = at / np.float32(max(warmup_steps, 1))
        progress = xp.clip((at - warmup_steps) / np.float32(max(total_steps - 1 - warmup_steps, 1)), 0, 1)
        return xp.asarray(np.float32(peak) * xp.where(at < warmup_steps, rise, fall(xp, progress)), dtype=np.float32)

    return learning_rate
