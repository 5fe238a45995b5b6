"""Fake quantisation with straight-through gradients: what training sees of packed weights and int8 activations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from orchestai_kernels.arrays import binarize, quantize_activations, quantize_int8, ternarize

WeightKind = Literal["ternary", "binary", "int8", "float"]
ActivationKind = Literal["int8", "none"]
Strength = Float[Array, ""] | float | None
"""How much of the rounding is applied, 0 to 1; None is all of it, without the arithmetic of mixing."""


@jax.custom_jvp
def straight_through(x: Array, rounded: Array) -> Array:
    """`rounded`, with the gradient of x (Bengio et al. 2013)."""
    del x
    return rounded


@straight_through.defjvp
def _as_identity(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    return primals[1], tangents[0]


def fake_quantize_weights(
    weights: Float[Array, "*batch rows columns"],
    kind: WeightKind,
    *,
    parts: Sequence[int] | None = None,
    strength: Strength = None,
) -> Float[Array, "*batch rows columns"]:
    """The weights as their packed form would read, with straight-through gradients.

    Args:
      weights: matrices; leading axes stack them.
      kind: ternary and binary have one scale a matrix, int8 one a row; float returns the weights.
      parts: row counts of the matrices that one array holds below each other, each with a scale of its own.
      strength: λ of w + λ · (quantised(w) - w).

    Raises ValueError where `parts` do not add up to the rows.
    """
    if kind == "float":
        return weights
    constant = jax.lax.stop_gradient(weights)
    rounded = jnp.concatenate([_rounded(part, kind) for part in split_rows(constant, parts)], axis=-2)
    return _mixed(weights, rounded.astype(weights.dtype), strength)


def fake_quantize_activations(
    x: Float[Array, "*batch features"], kind: ActivationKind, *, strength: Strength = None
) -> Float[Array, "*batch features"]:
    """x rounded to int8 with one scale a token and read back, with straight-through gradients; `none` returns x."""
    if kind == "none":
        return x
    values, scale = quantize_activations(jax.lax.stop_gradient(x))
    return _mixed(x, (values.astype(jnp.float32) / scale[..., None]).astype(x.dtype), strength)


def split_rows(weights: Array, parts: Sequence[int] | None) -> list[Array]:
    """The matrices that an array [*batch, rows, columns] holds below each other.

    Raises ValueError where `parts` do not add up to the rows.
    """
    rows = weights.shape[-2]
    if parts is None:
        return [weights]
    if sum(parts) != rows or min(parts) < 1:
        raise ValueError(f"parts must be row counts that add up to {rows}, got {tuple(parts)}")
    return jnp.split(weights, np.cumsum(parts)[:-1].tolist(), axis=-2)


def _rounded(weights: Array, kind: WeightKind) -> Array:
    if kind == "ternary":
        values, scale = ternarize(weights)
        return values * scale[..., None, None]
    if kind == "binary":
        values, scale = binarize(weights)
        return values * scale[..., None, None]
    packed = quantize_int8(weights)
    return packed.values * packed.scale[..., None]


def _mixed(x: Array, rounded: Array, strength: Strength) -> Array:
    if strength is not None:
        rounded = x + jnp.asarray(strength, x.dtype) * (rounded - x)
    return straight_through(x, jax.lax.stop_gradient(rounded))
