"""How precisely products of floats multiply: what JAX leaves to the platform is written down here."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp


def product_precision(dtype: Any) -> jax.lax.Precision | None:
    """HIGHEST for float32 and float64, which GPUs would round to TF32 and TPUs to bfloat16; None for narrower ones."""
    return jax.lax.Precision.HIGHEST if jnp.dtype(dtype).itemsize >= 4 else None
