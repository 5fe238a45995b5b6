"""The end of every train step: take the optimizer's update in, or refuse it, inside the compiled program."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from orchestai_jax.training.train_state import TrainState

Accept = Callable[[Mapping[str, jax.Array]], jax.Array]
"""A step's measurements (traced scalars) to bool[]: whether its update is applied. Runs inside jit."""

Observe = Callable[[jax.Array, Any, Any, Any], dict[str, jax.Array]]
"""(step from 1, gradients, parameters, updates) to more measurements, as LayerStatistics.measure. Runs inside jit."""

SKIPPED = "skipped_updates"
"""The measurement that counts refused updates since the run began; there where updates can be refused."""


def apply_gradients(
    state: TrainState,
    gradients: Any,
    measurements: Mapping[str, jax.Array],
    optimizer: optax.GradientTransformation,
    *,
    key: jax.Array,
    ema_decay: float | None = None,
    accept: Accept | None = None,
    observe: Observe | None = None,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """The next state, and the measurements with `gradient_norm` (global, before clipping) among them, and
    `compression_error` where moments are kept encoded.

    An update is refused where `accept` says so, or where `optax.apply_if_finite` in the optimizer did: parameters,
    optimizer state and average then stay as they were, to the bit; the step and the random key go on; `skipped` is
    counted up and reported as `skipped_updates`.

    Args:
      state: before the step.
      gradients: of `state.params["trainable"]`.
      measurements: scalars, the loss among them.
      optimizer: a chain of `optimizer_chain.py`.
      key: the random key that the next step starts from.
      ema_decay: see `average`; wanted where `state.ema` is there.
      accept: None = every update is applied, and the program is the one without gates.
      observe: what else is measured; it sees the update that the optimizer made, refused or not.
    """
    trainable = state.params["trainable"]
    updates, opt_state = optimizer.update(gradients, state.opt_state, trainable)
    measured = {**measurements, "gradient_norm": optax.tree.norm(gradients)}
    error = optax.tree.get(opt_state, "compression_error")  # None without encoded moments
    if error is not None:
        measured["compression_error"] = error
    stepped = optax.apply_updates(trainable, updates)
    ema = state.ema
    if ema is not None:
        if ema_decay is None:
            raise ValueError("ema_decay is None, but the state keeps an average; give its decay")
        ema = average(ema, stepped, opt_state, ema_decay, state.step)
    applied = optax.tree.get(opt_state, "last_finite")  # None without apply_if_finite
    if accept is not None:
        allowed = accept(measured)
        kept = (trainable, state.opt_state, state.ema)
        stepped, opt_state, ema = jax.tree.map(
            lambda new, old: jnp.where(allowed, new, old), (stepped, opt_state, ema), kept
        )
        applied = allowed if applied is None else jnp.logical_and(applied, allowed)
    skipped = state.skipped
    if applied is not None:
        if state.ema is not None and accept is None:
            ema = jax.tree.map(lambda new, old: jnp.where(applied, new, old), ema, state.ema)
        skipped = skipped + jnp.where(applied, 0, 1).astype(jnp.int32)
        measured[SKIPPED] = skipped
    if observe is not None:
        measured |= observe(state.step + 1, gradients, trainable, updates)
    params = {**state.params, "trainable": stepped}
    return TrainState(state.step + 1, params, opt_state, key, skipped, ema), measured


def average(ema: Any, parameters: Any, opt_state: Any, decay: float, step: jax.Array) -> Any:
    """The next moving average of parameters: d·ema + (1 − d)·parameters, d = min(decay, (1 + t) / (10 + t)).

    The ramp over the steps t that are done is TensorFlow's ExponentialMovingAverage with `num_updates`: it lets go of
    the random start soon. While gradients are accumulated nothing moves, and neither does the average.
    """
    done = step.astype(jnp.float32)
    ramped = jnp.minimum(decay, (1 + done) / (10 + done))
    moved = optax.incremental_update(parameters, ema, 1 - ramped)
    waiting = optax.tree.get(opt_state, "mini_step")  # None without MultiSteps
    if waiting is None:
        return moved
    return jax.tree.map(lambda new, old: jnp.where(waiting == 0, new, old), moved, ema)
