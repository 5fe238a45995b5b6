"""What can be put around any optimizer: gradients of several steps in one update, no update that is not finite."""

from __future__ import annotations

import optax

from orchestai_jax.config import TrainingOptions


def wrap_optimizer(optimizer: optax.GradientTransformation, options: TrainingOptions) -> optax.GradientTransformation:
    """The optimizer with `accumulate_steps` and `skip_nonfinite_updates`; itself where both are off.

    Accumulation is the mean over the steps (optax.MultiSteps), so that k steps of b samples are one of k·b. A gradient
    that is not finite is left out of it, and without it nothing changes (optax.apply_if_finite).
    """
    wrapped = optimizer
    if options.accumulate_steps > 1:
        steps = optax.MultiSteps(optimizer, every_k_schedule=options.accumulate_steps)
        wrapped = steps.gradient_transformation()
    if options.skip_nonfinite_updates:
        wrapped = optax.apply_if_finite(wrapped, max_consecutive_errors=options.skip_nonfinite_updates)
    return wrapped


def updates_before(step: int, skipped: int, accumulate_steps: int) -> int:
    """Updates that the optimizer has made before a step (from 1) if `skipped` steps before it were refused."""
    return (step - 1 - skipped) // accumulate_steps


def total_updates(total_steps: int, accumulate_steps: int) -> int:
    """Updates in a whole run: what schedules count. Steps left over at its end make none."""
    return max(1, total_steps // accumulate_steps)
