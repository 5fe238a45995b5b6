"""A ternary linear layer with a learned scale a row and a bias: what a float linear layer is distilled into."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Float32, Int8
from orchestai_kernels.arrays import TernaryArray, pack_ternary, ternarize
from orchestai_kernels.ternary_matmul import ternary_matmul

from orchestai_jax.nn.straight_through import Strength, fake_quantize_activations, straight_through


class TernaryLinear(nnx.Module):
    """y = scale · (q(x) Tᵀ) + bias, T [rows, columns] of -1, 0 and 1, q int8 with one scale a token.

    T is the absmean rounding of BitNet b1.58 (Ma et al. 2024), a mean a row: t = clamp(round(w / mean|w|), -1, 1). The
    scale is a parameter a row in place of that mean, so that it can be learned (as in LSQ, Esser et al. 2020). With
    float master weights gradients go straight through; with `weight` packed (`pack_rows`) the kernel runs, and the
    other parameters are the same in both forms. Raises ValueError for a row or column count below 1.
    """

    def __init__(self, columns: int, rows: int, *, initializer_range: float = 0.02, rngs: nnx.Rngs):
        if min(columns, rows) < 1:
            raise ValueError(f"columns and rows must be at least 1, got {columns} and {rows}")
        weight = jax.random.normal(rngs.params(), (rows, columns), jnp.float32) * initializer_range
        self.weight = nnx.Param(weight)
        self.scale = nnx.Param(nearest_scale(weight))
        self.bias = nnx.Param(jnp.zeros((rows,), jnp.float32))

    def __call__(self, x: Float[Array, "*batch columns"], *, strength: Strength = None) -> Float[Array, "*batch rows"]:
        """Apply the layer; `strength` is the share of the rounding in force (None: all), for float weights only."""
        weight: Any = self.weight.get_value()
        scale, bias = self.scale[...].astype(x.dtype), self.bias[...].astype(x.dtype)
        if isinstance(weight, TernaryArray):
            return ternary_matmul(x, weight) * scale + bias
        x = fake_quantize_activations(x, "int8", strength=strength)
        rounded = rounded_rows(weight, self.scale[...], strength).astype(x.dtype)
        return jnp.einsum("...k,nk->...n", x, rounded) + bias  # n: row, k: column


def ternary_rows(
    weight: Float[Array, "rows columns"],
) -> tuple[Int8[Array, "rows columns"], Float32[Array, "rows"]]:
    """(t, m): m = max(mean|w|, 1e-5) of each row, t = clamp(round(w / m), -1, 1), ties to even."""
    values, mean = ternarize(weight[:, None, :])
    return values[:, 0], mean


def rounded_rows(
    weight: Float[Array, "rows columns"], scale: Float[Array, "rows"], strength: Strength = None
) -> Float[Array, "rows columns"]:
    """scale · t, with the gradient of scale · w / m for w; of `strength` λ: w + λ · (scale · t - w)."""
    values, mean = ternary_rows(jax.lax.stop_gradient(weight))
    unit = straight_through(weight / mean[:, None], values.astype(weight.dtype))
    rounded = scale[:, None] * unit
    return rounded if strength is None else weight + jnp.asarray(strength, weight.dtype) * (rounded - weight)


def nearest_scale(weight: Float[Array, "rows columns"]) -> Float32[Array, "rows"]:
    """Of each row, the scale s that brings s · t nearest to w (least squares): Σ w·t / Σ|t|."""
    values, mean = ternary_rows(weight)
    count = jnp.sum(jnp.abs(values), axis=-1)
    return jnp.where(count > 0, jnp.sum(weight * values, axis=-1) / jnp.maximum(count, 1), mean)


def pack_rows(weight: Float[Array | np.ndarray, "rows columns"]) -> TernaryArray:
    """The signs of `ternary_rows`, packed, with the scale 1: the layer multiplies by its own.

    In NumPy, so that opening a model compiles nothing: where a weight is within float32's rounding of the threshold its
    sign may be another than a compiled program's.
    """
    weight = np.asarray(weight, np.float32)
    mean = np.maximum(np.mean(np.abs(weight), axis=-1, keepdims=True), np.float32(1e-5))
    return pack_ternary(np.clip(np.rint(weight * (np.float32(1) / mean)), -1, 1).astype(np.int8), 1.0)
