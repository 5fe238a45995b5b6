"""How strong quantisation is at a step of training."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def quantization_strength(step: Int[Array, ""] | int, warmup_steps: int) -> Float[Array, ""]:
    """λ: 0 at step 0, in a line to 1 at `warmup_steps` and after; always 1 without a warm-up.

    For training on from a float checkpoint: the weights have time to move to where rounding costs little. Raises
    ValueError for a negative `warmup_steps`.
    """
    if warmup_steps < 0:
        raise ValueError(f"warmup_steps must be at least 0, got {warmup_steps}")
    if warmup_steps == 0:
        return jnp.ones((), jnp.float32)
    return jnp.clip(jnp.asarray(step, jnp.float32) / warmup_steps, 0.0, 1.0)
