"""The optimizer of language models and distilled encoders: clipped AdamW, rates and decay in one or two phases."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import optax

from orchestai_jax.config import ScheduledTraining
from orchestai_jax.training.optimizer import is_decayed
from orchestai_jax.training.optimizer_chain import total_updates, wrap_optimizer
from orchestai_jax.training.schedules import Schedule

STABLE_DECAY_FRACTION = 0.2
"""Share of the steps after the warm-up over which `stable_decay` falls (MiniCPM falls over a tenth to a fifth)."""


def pretraining_learning_rate(config: ScheduledTraining) -> Schedule:
    """Learning rate of an update: warm-up in a line, then the fall that `config.schedule` names, or the two phases of
    the BitNet recipe (Ma et al. 2025, section 2.3).

    With peak p, end f, warm-up w and last update n − 1, where u counts updates from 0: p·(u + 1) / (w + 1) for u ≤ w
    (the first update has a rate too: it would be lost otherwise), and f at n − 1 and after (`constant`: p). Two phases:
    from p a line that would end at f with the last update, left at `second_phase_start` for a line from
    `second_phase_learning_rate` to f.
    """
    total, warmup, second = _corners(config)

    def learning_rate(step: Any) -> Any:
        xp: Any = np if isinstance(step, (int, np.integer)) else jnp
        at = xp.asarray(step, dtype=np.float32)
        peak, final = np.float32(config.learning_rate), np.float32(config.final_learning_rate)
        progress = xp.clip((at - warmup) / np.float32(max(total - 1 - warmup, 1)), 0, 1)
        if config.schedule == "two_phase":
            within = xp.clip((at - second) / np.float32(max(total - 1 - second, 1)), 0, 1)
            last = final + (config.second_phase_learning_rate - final) * (1 - within)
            fallen = xp.where(at < second, final + (peak - final) * (1 - progress), last)
        else:
            fallen = final + (peak - final) * _fall(config.schedule, xp, progress)
            fallen = xp.where(progress >= 1, peak if config.schedule == "constant" else final, fallen)
        rise = peak * ((at + 1) / np.float32(warmup + 1))
        return xp.asarray(xp.where(at < warmup, rise, fallen), dtype=np.float32)

    return learning_rate


def _fall(schedule: str, xp: Any, progress: Any) -> Any:
    """From 1 at progress 0 to 0 at progress 1."""
    match schedule:
        case "cosine":
            return (1 + xp.cos(np.float32(np.pi) * progress)) / 2
        case "linear":
            return 1 - progress
        case "stable_decay":
            return xp.clip((1 - progress) / np.float32(STABLE_DECAY_FRACTION), 0, 1)
    return xp.ones_like(progress)


def _corners(config: ScheduledTraining) -> tuple[int, int, int]:
    """Updates in all, those of the warm-up, and the first of the second phase: steps over `accumulate_steps`."""
    total = total_updates(config.num_steps, config.accumulate_steps)
    warmup = min(config.warmup_steps // config.accumulate_steps, total - 1)
    return total, warmup, round(config.second_phase_start * total)


def pretraining_weight_decay(config: ScheduledTraining) -> Schedule:
    """`weight_decay`, and `second_phase_weight_decay` in the second of two phases."""
    second = _corners(config)[2]

    def weight_decay(step: Any) -> Any:
        xp: Any = np if isinstance(step, (int, np.integer)) else jnp
        first = np.float32(config.weight_decay)
        if config.schedule != "two_phase":
            return xp.asarray(first)
        return xp.where(xp.asarray(step) < second, first, np.float32(config.second_phase_weight_decay))

    return weight_decay


def pretraining_optimizer(config: ScheduledTraining) -> optax.GradientTransformation:
    """Clip by the global norm, Adam, decay of weight matrices, learning rate."""

    def decayed(params: Any) -> Any:
        return {name: is_decayed((name,)) for name in params}

    chain = optax.chain(
        optax.clip_by_global_norm(config.gradient_clip),
        optax.scale_by_adam(b1=0.9, b2=config.beta2),
        optax.add_decayed_weights(pretraining_weight_decay(config), mask=decayed),
        optax.scale_by_learning_rate(pretraining_learning_rate(config)),
    )
    return wrap_optimizer(chain, config)
