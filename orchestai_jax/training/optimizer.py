"""The optimizer of supervised training: clipped AdamW, decay on weight matrices only, a learning rate a group."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import jax
import optax

from orchestai_jax.config import Phase1Config
from orchestai_jax.training.optimizer_chain import total_updates, wrap_optimizer
from orchestai_jax.training.schedules import SCHEDULES, Schedule

PLANNER_GROUP = "planner"
ENCODER_GROUP = "encoder"

_UNDECAYED = re.compile(r"bias|norm|embed|scale", re.IGNORECASE)


def group_of(path: tuple[str, ...]) -> str:
    """`encoder` for parameters below a part named encoder, `planner` for all others."""
    return ENCODER_GROUP if any(part in ("encoder", "text_encoder") for part in path) else PLANNER_GROUP


def is_decayed(path: tuple[str, ...]) -> bool:
    """Whether weight decay applies: not to biases, norms, scales and embeddings, which have no scale to be free of."""
    return not any(_UNDECAYED.search(part) for part in path)


def learning_rates(config: Phase1Config, total_steps: int) -> dict[str, Schedule]:
    """The schedule of each group of parameters.

    Args:
      config: peak rates, the schedule's name, and the share of the steps that is warm-up.
      total_steps: steps of the whole training; the schedules count updates, of which accumulation makes fewer.
    """
    updates = total_updates(total_steps, config.accumulate_steps)
    warmup = min(round(config.warmup_fraction * updates), updates - 1)
    make = SCHEDULES[config.schedule]
    return {
        PLANNER_GROUP: make(config.learning_rate, updates, warmup),
        ENCODER_GROUP: make(config.encoder_learning_rate, updates, warmup),
    }


def build_optimizer(
    config: Phase1Config, total_steps: int, label_fn: Callable[[tuple[str, ...]], str] = group_of
) -> optax.GradientTransformation:
    """Clip by the global norm, AdamW, each group's learning rate; around it what `wrap_optimizer` adds.

    Args:
      config: rates, decay and clipping.
      total_steps: steps of the whole training.
      label_fn: a parameter's path (its keys as text) to its group, `planner` or `encoder`.

    `init` raises ValueError for a group that there is not.
    """
    rates = learning_rates(config, total_steps)

    def groups(params: Any) -> Any:
        return _by_path(params, lambda path: _known(label_fn(path), path, rates))

    chain = optax.chain(
        optax.clip_by_global_norm(config.gradient_clip),
        optax.scale_by_adam(),
        optax.add_decayed_weights(config.weight_decay, mask=lambda params: _by_path(params, is_decayed)),
        optax.multi_transform({g: optax.scale_by_learning_rate(rate) for g, rate in rates.items()}, groups),
    )
    return wrap_optimizer(chain, config)


def _known(group: str, path: tuple[str, ...], rates: dict[str, Schedule]) -> str:
    if group not in rates:
        raise ValueError(f"parameter {'/'.join(path)} is in the group {group!r}; allowed: {', '.join(rates)}")
    return group


def _by_path(params: Any, function: Callable[[tuple[str, ...]], Any]) -> Any:
    def call(path: Any, _: Any) -> Any:
        return function(tuple(jax.tree_util.keystr((entry,), simple=True) for entry in path))

    return jax.tree_util.tree_map_with_path(call, params)
