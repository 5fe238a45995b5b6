"""The linear layer of ternary transformers: float master weights in training, packed weights in serving."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float
from orchestai_kernels.arrays import (
    BinaryArray,
    Int8Array,
    StackedMatrix,
    TernaryArray,
    dequantize_int8,
    dequantize_ternary,
    is_ternary,
    unpack_binary,
)
from orchestai_kernels.int8_matmul import int8_matmul
from orchestai_kernels.ternary_matmul import ternary_matmul

from orchestai_jax.nn.straight_through import (
    ActivationKind,
    Strength,
    WeightKind,
    fake_quantize_activations,
    fake_quantize_weights,
)


class BitLinear(nnx.Module):
    """y = x Wᵀ, W [rows, columns], without a bias; several projections of one input may lie below each other in W.

    With a float W the layer computes what the packed one would, up to the rounding of products and sums in x's dtype:
    W and x are rounded to the packed values and read back, and gradients go straight through (BitNet b1.58, Ma et al.
    2024). With a packed W (as `orchestai_jax.quantization.pack_weights` makes it) ternary and int8 weights run the
    kernel where activations are int8; binary weights, and all where activations are not rounded, are read back to
    float. `weights="float", activations="none"` is a plain linear layer. Raises ValueError for a row count below 1.
    """

    def __init__(
        self,
        columns: int,
        rows: int | Sequence[int],
        *,
        weights: WeightKind = "ternary",
        activations: ActivationKind = "int8",
        initializer_range: float = 0.02,
        rngs: nnx.Rngs,
    ):
        self.parts = (rows,) if isinstance(rows, int) else tuple(rows)
        if min(self.parts, default=0) < 1:
            raise ValueError(f"rows must be at least 1 a projection, got {rows}")
        self.weights: WeightKind = weights
        self.activations: ActivationKind = activations
        shape = (sum(self.parts), columns)
        self.weight = nnx.Param(jax.random.normal(rngs.params(), shape, jnp.float32) * initializer_range)

    def __call__(self, x: Float[Array, "*batch columns"], *, strength: Strength = None) -> Float[Array, "*batch rows"]:
        """Apply the layer; `strength` is the share of quantisation in force, for a float W only."""
        weight: Any = self.weight.get_value()
        if isinstance(weight, TernaryArray | Int8Array | BinaryArray | StackedMatrix):
            return packed_linear(x, weight, self.activations)
        if isinstance(weight, tuple):  # binary projections below each other, each with its scale
            return jnp.concatenate([packed_linear(x, part, self.activations) for part in weight], axis=-1)
        x = fake_quantize_activations(x, self.activations, strength=strength)
        parts = self.parts if len(self.parts) > 1 else None
        weight = fake_quantize_weights(weight, self.weights, parts=parts, strength=strength)
        return jnp.einsum("...k,nk->...n", x, weight.astype(x.dtype))  # n: row, k: column

    def kernel_weight(self) -> Any:
        """The weight as the op `feed_forward` takes it: ternary with int8 activations, or float without rounding.

        None for every other kind.
        """
        weight: Any = self.weight.get_value()
        if is_ternary(weight):
            return weight if self.activations == "int8" else None
        plain = self.weights == "float" and self.activations == "none"
        return weight if plain and isinstance(weight, jax.Array) else None

    def split(self, y: Float[Array, "*batch rows"]) -> list[Array]:
        """The results of the projections that lie below each other."""
        bounds = [sum(self.parts[:i]) for i in range(1, len(self.parts))]
        return jnp.split(y, bounds, axis=-1)


def packed_linear(
    x: Float[Array, "*batch columns"],
    weight: TernaryArray | Int8Array | BinaryArray | StackedMatrix,
    activations: ActivationKind,
) -> Float[Array, "*batch rows"]:
    """y = x Wᵀ with packed weights; int8 activations run the kernel, none read the weights back to float."""
    if activations == "int8" and not isinstance(weight, BinaryArray):
        product: Any = ternary_matmul if is_ternary(weight) else int8_matmul
        return product(x, weight)
    if isinstance(weight, StackedMatrix):
        weight = weight.matrix()
    if isinstance(weight, TernaryArray):
        matrix = dequantize_ternary(weight)
    elif isinstance(weight, Int8Array):
        matrix = dequantize_int8(weight)
    else:
        matrix = unpack_binary(weight) * weight.scale[..., None, None]
        x = fake_quantize_activations(x, activations)
    return jnp.einsum("...k,nk->...n", x, matrix.astype(x.dtype))
