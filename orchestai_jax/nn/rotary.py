"""Rotary position embedding in halves (Su et al. 2021; the "rotate half" form that Llama and BitNet use)."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int


def rotary_angles(
    positions: Int[Array, "*batch time"], head_dim: int, theta: float
) -> tuple[Float[Array, "*batch time half"], Float[Array, "*batch time half"]]:
    """Cosines and sines of position · theta^(-2i / head_dim), i = 0 … head_dim / 2 - 1, float32."""
    frequencies = (1.0 / theta ** (np.arange(0, head_dim, 2, dtype=np.float32) / head_dim)).astype(np.float32)
    angles = positions[..., None].astype(jnp.float32) * frequencies
    return jnp.cos(angles), jnp.sin(angles)


def rotate(
    x: Float[Array, "*batch time heads head_dim"],
    cosines: Float[Array, "*#batch time half"],
    sines: Float[Array, "*#batch time half"],
) -> Float[Array, "*batch time heads head_dim"]:
    """Turn each pair (x[i], x[i + head_dim / 2]) by its position's angle, in float32, cast back to x's dtype."""
    half = x.shape[-1] // 2
    wide = x.astype(jnp.float32)
    first, second = wide[..., :half], wide[..., half:]
    cosines, sines = cosines[..., None, :], sines[..., None, :]
    return jnp.concatenate([first * cosines - second * sines, second * cosines + first * sines], -1).astype(x.dtype)
