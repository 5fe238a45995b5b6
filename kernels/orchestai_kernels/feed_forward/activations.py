"""Activations of the gate with their derivatives, as functions that kernels may call on tiles."""

from __future__ import annotations

import math
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Activation = Literal["silu", "gelu", "relu2"]
_GELU = math.sqrt(2 / math.pi)


def activate(x: Float[Array, "..."], activation: Activation) -> Float[Array, "..."]:
    """`silu`: x σ(x); `gelu`: the tanh form of Hendrycks & Gimpel 2016; `relu2`: max(x, 0)² (So et al. 2021)."""
    if activation == "silu":
        return x * jax.nn.sigmoid(x)
    if activation == "gelu":
        return 0.5 * x * (1 + jnp.tanh(_GELU * (x + 0.044715 * x * x * x)))
    positive = jnp.maximum(x, 0)
    return positive * positive


def derivative(x: Float[Array, "..."], activation: Activation) -> Float[Array, "..."]:
    """Of `activate`, at x."""
    if activation == "silu":
        sigmoid = jax.nn.sigmoid(x)
        return sigmoid * (1 + x * (1 - sigmoid))
    if activation == "gelu":
        bent = jnp.tanh(_GELU * (x + 0.044715 * x * x * x))
        return 0.5 * (1 + bent) + 0.5 * x * (1 - bent * bent) * _GELU * (1 + 3 * 0.044715 * x * x)
    return 2 * jnp.maximum(x, 0)
