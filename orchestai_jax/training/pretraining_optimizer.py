"""The optimizer of language models: clipped AdamW, learning rate and weight decay in one or two phases."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import optax

from orchestai_jax.config import PretrainingConfig
from orchestai_jax.training.optimizer import is_decayed
from orchestai_jax.training.schedules import Schedule


def pretraining_learning_rate(config: PretrainingConfig) -> Schedule:
    """Warm-up in a line, then half a cosine; or the two phases of the BitNet recipe (Ma et al. 2025, section 2.3).

    Two phases: from `learning_rate` a line that would end at `final_learning_rate` with the last step, left at
    `second_phase_start` for a line from `second_phase_learning_rate` to `final_learning_rate`.
    """
    total, warmup = config.num_steps, config.warmup_steps
    second = second_phase_step(config)

    def learning_rate(step: Any) -> Any:
        xp: Any = np if isinstance(step, (int, np.integer)) else jnp
        at = xp.asarray(step, dtype=np.float32)
        final = np.float32(config.final_learning_rate)
        progress = xp.clip((at - warmup) / np.float32(max(total - warmup, 1)), 0, 1)
        if config.schedule == "cosine":
            fallen = final + (config.learning_rate - final) * (1 + xp.cos(np.float32(np.pi) * progress)) / 2
        else:
            first = final + (config.learning_rate - final) * (1 - progress)
            within = xp.clip((at - second) / np.float32(max(total - second, 1)), 0, 1)
            fallen = xp.where(at < second, first, final + (config.second_phase_learning_rate - final) * (1 - within))
        # The first step has a rate too: it would be lost otherwise.
        rise = config.learning_rate * (at + 1) / np.float32(max(warmup, 1))
        return xp.asarray(xp.where(at < warmup, rise, fallen), dtype=np.float32)

    return learning_rate


def pretraining_weight_decay(config: PretrainingConfig) -> Schedule:
    """`weight_decay`, and `second_phase_weight_decay` in the second of two phases."""
    second = second_phase_step(config)

    def weight_decay(step: Any) -> Any:
        xp: Any = np if isinstance(step, (int, np.integer)) else jnp
        first = np.float32(config.weight_decay)
        if config.schedule != "two_phase":
            return xp.asarray(first)
        return xp.where(xp.asarray(step) < second, first, np.float32(config.second_phase_weight_decay))

    return weight_decay


def second_phase_step(config: PretrainingConfig) -> int:
    """The first step of the second phase."""
    return round(config.second_phase_start * config.num_steps)


def pretraining_optimizer(config: PretrainingConfig) -> optax.GradientTransformation:
    """Clip by the global norm, Adam, decay of weight matrices, learning rate."""

    def decayed(params: Any) -> Any:
        return {name: is_decayed((name,)) for name in params}

    return optax.chain(
        optax.clip_by_global_norm(config.gradient_clip),
        optax.scale_by_adam(b1=0.9, b2=config.beta2),
        optax.add_decayed_weights(pretraining_weight_decay(config), mask=decayed),
        optax.scale_by_learning_rate(pretraining_learning_rate(config)),
    )
