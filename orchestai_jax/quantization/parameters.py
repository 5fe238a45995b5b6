"""Quantising and packing a model's parameters: pure functions of a dict of arrays by dotted name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from orchestai_kernels.arrays import (
    BinaryArray,
    Int8Array,
    TernaryArray,
    binarize,
    pack_binary,
    pack_ternary,
    quantize_int8,
    ternarize,
)

from orchestai_jax.config import QuantizationRule
from orchestai_jax.nn.straight_through import Strength, WeightKind, fake_quantize_weights, split_rows
from orchestai_jax.quantization.rules import check_parts, resolve_rules

PackedWeight = TernaryArray | Int8Array | BinaryArray | tuple[BinaryArray, ...]
"""What a matrix is packed into; binary matrices below each other in one array become a tuple."""


def quantize(
    parameters: Mapping[str, Array],
    rules: Sequence[QuantizationRule],
    *,
    parts: Mapping[str, Sequence[int]] | None = None,
    strength: Strength = None,
) -> dict[str, Array]:
    """The parameters with every matrix that a rule names rounded as its packed form would read.

    Gradients go straight through to `parameters`. Rounding activations is the layers' part (`BitLinear`). The view is
    for models whose layers do not round their weights themselves.

    Args:
      parameters: by dotted name; matrices are [*batch, rows, columns]. Vectors that are stacked over the layers look
        like matrices: the rules must not name them.
      rules: of several that match a name, the first one counts.
      parts: by name, row counts of matrices that lie below each other in one array, each with a scale of its own.
      strength: 0 (float) to 1 (all of the rounding); None is 1.

    Raises ValueError for an unused rule and for one that names something that is no matrix.
    """
    resolved = _matrices(parameters, rules, parts or {})
    return {
        name: fake_quantize_weights(value, resolved[name].weights, parts=(parts or {}).get(name), strength=strength)
        if name in resolved
        else value
        for name, value in parameters.items()
    }


def pack(
    parameters: Mapping[str, Any],
    rules: Sequence[QuantizationRule],
    *,
    parts: Mapping[str, Sequence[int]] | None = None,
) -> dict[str, Any]:
    """The parameters with every matrix that a rule names packed; the arguments and errors are those of `quantize`."""
    resolved = _matrices(parameters, rules, parts or {})
    return {
        name: pack_weights(value, resolved[name].weights, parts=(parts or {}).get(name)) if name in resolved else value
        for name, value in parameters.items()
    }


def pack_weights(weights: Array, kind: WeightKind, *, parts: Sequence[int] | None = None) -> Array | PackedWeight:
    """One array of matrices [*batch, rows, columns] packed; `float` leaves it as it is.

    Ternary matrices that lie below each other (`parts`) become one `TernaryArray` with a scale a row.
    """
    if kind == "float":
        return weights
    if kind == "int8":
        return quantize_int8(weights)
    pieces = split_rows(weights, parts)
    if kind == "binary":
        if len(pieces) == 1:
            return pack_binary(*binarize(pieces[0]))
        return tuple(pack_binary(*binarize(piece)) for piece in pieces)
    quantised = [ternarize(piece) for piece in pieces]
    if len(pieces) == 1:
        return pack_ternary(*quantised[0])
    return join_ternary(quantised)


def join_ternary(pieces: Sequence[tuple[Array | np.ndarray, Array | np.ndarray]]) -> TernaryArray:
    """Ternary matrices (values, scale), one scale a matrix, below each other in one array with a scale a row."""
    values = jnp.concatenate([jnp.asarray(values) for values, _ in pieces], axis=-2)
    scales = [jnp.broadcast_to(jnp.asarray(scale)[..., None], values.shape[:-1]) for values, scale in pieces]
    return pack_ternary(values, jnp.concatenate(scales, axis=-1))


def _matrices(
    parameters: Mapping[str, Any], rules: Sequence[QuantizationRule], parts: Mapping[str, Sequence[int]]
) -> dict[str, QuantizationRule]:
    resolved = resolve_rules(rules, parameters)
    check_parts(parts, parameters)
    for name, rule in resolved.items():
        value = parameters[name]
        if not hasattr(value, "ndim"):
            raise ValueError(f"quantization rule {rule.pattern!r} matches {name}, which is packed already")
        if value.ndim < 2:
            raise ValueError(
                f"quantization rule {rule.pattern!r} matches {name}, which is no matrix (shape {tuple(value.shape)})"
            )
    return resolved
