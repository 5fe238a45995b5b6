"""The end of every train step: take the optimizer's update in, or refuse it, inside the compiled program."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from orchestai_jax.training.layer_statistics import LayerStatistics
from orchestai_jax.training.train_state import TrainState

Accept = Callable[[Mapping[str, jax.Array]], jax.Array]
"""A step's measurements (traced scalars) to bool[]: whether its update is applied. Runs inside jit."""

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
    observe: LayerStatistics | None = None,
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
      observe: what else is measured; of an update that `accept` refused it sees zeros, or what was refused.
    """
    trainable = state.params["trainable"]
    measured = {**measurements, "gradient_norm": optax.tree.norm(gradients)}

    def updated(*, seen: bool) -> tuple[dict[str, jax.Array], _Kept]:
        updates, opt_state = optimizer.update(gradients, state.opt_state, trainable)
        stepped, ema = optax.apply_updates(trainable, updates), state.ema
        if ema is not None:
            if ema_decay is None:
                raise ValueError("ema_decay is None, but the state keeps an average; give its decay")
            ema = average(ema, stepped, opt_state, ema_decay, state.step)
        return observed(updates) if seen else unobserved(), (stepped, opt_state, ema)

    def observed(updates: Any) -> dict[str, jax.Array]:
        return observe.measure(state.step + 1, gradients, trainable, updates) if observe is not None else {}

    def unobserved() -> dict[str, jax.Array]:
        shapes = jax.eval_shape(observed, trainable)
        return {name: jnp.zeros(shape.shape, shape.dtype) for name, shape in shapes.items()}

    def refused() -> tuple[dict[str, jax.Array], _Kept]:
        return observed(jax.tree.map(jnp.zeros_like, trainable)), kept

    observe = observe if observe is not None and observe.intervals else None
    kept: _Kept = (trainable, state.opt_state, state.ema)
    allowed: jax.Array | None = None
    if _is_conditional(state) and (accept is not None or observe is not None):
        allowed = accept(measured) if accept is not None else None
        branches = [*([refused] if accept is not None else []), functools.partial(updated, seen=False)]
        taken = jnp.int32(1) if allowed is None else allowed.astype(jnp.int32)
        if observe is not None:
            branches.append(functools.partial(updated, seen=True))
            taken = taken * (1 + observe.is_due(state.step + 1))
        more, (stepped, opt_state, ema) = jax.lax.switch(taken - (accept is None), branches)
    else:
        more, (stepped, opt_state, ema) = updated(seen=True)
        error = optax.tree.get(opt_state, "compression_error")  # None without encoded moments
        if error is not None:
            measured["compression_error"] = error
        if accept is not None:
            allowed = accept(measured)
            stepped, opt_state, ema = _where(allowed, (stepped, opt_state, ema), kept)
    measured |= more
    applied = optax.tree.get(opt_state, "last_finite")  # None without apply_if_finite
    if applied is not None and state.ema is not None:
        ema = _where(applied, ema, state.ema)
    if allowed is not None:
        applied = allowed if applied is None else jnp.logical_and(applied, allowed)
    skipped = state.skipped
    if applied is not None:
        skipped = skipped + jnp.where(applied, 0, 1).astype(jnp.int32)
        measured[SKIPPED] = skipped
    params = {**state.params, "trainable": stepped}
    return TrainState(state.step + 1, params, opt_state, key, skipped, ema), measured


_Kept = tuple[Any, Any, Any]
"""Trained parameters, optimizer state, average."""


def _is_conditional(state: TrainState) -> bool:
    """Whether the program is best to branch at the update: refused (and not computed), made, or made and measured. On a
    CPU a select over the whole state costs a pass over it (4 to 7 % of a small model's step), and so does an update
    that is kept apart to be measured (4 %); a branch costs nothing. On a GPU a branch makes the host wait. The error of
    encoded moments is known only when the update is made."""
    return jax.default_backend() == "cpu" and optax.tree.get(state.opt_state, "compression_error") is None


def _where(condition: jax.Array, new: Any, old: Any) -> Any:
    return jax.tree.map(lambda new, old: jnp.where(condition, new, old), new, old)


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
