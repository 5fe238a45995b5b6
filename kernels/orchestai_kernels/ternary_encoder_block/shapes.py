"""Named shapes of `ternary_encoder_block`: MiniLM's block, for one instruction and for a batch."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from orchestai_kernels.encoder_block.weights import Norm
from orchestai_kernels.shapes import NamedShape
from orchestai_kernels.ternary_encoder_block.weights import TernaryBlockWeights, TernaryDense
from orchestai_kernels.ternary_matmul.shapes import packed_struct


def _call(batch: int, length: int, hidden: int, wide: int, heads: int) -> NamedShape:
    def numbers(*shape: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, jnp.float32)

    def dense(rows: int, columns: int) -> TernaryDense:
        scale, bias = numbers(rows), numbers(rows)
        return TernaryDense(packed_struct(rows, columns), scale, bias)  # pyright: ignore[reportArgumentType]  shapes

    scale, sub_norm, wide_sub_norm = numbers(hidden), numbers(hidden), numbers(wide)
    norm = Norm(scale, scale)  # pyright: ignore[reportArgumentType]  shapes in place of arrays
    weights = TernaryBlockWeights(
        dense(3 * hidden, hidden),
        sub_norm,  # pyright: ignore[reportArgumentType]
        dense(hidden, hidden),
        norm,
        dense(wide, hidden),
        wide_sub_norm,  # pyright: ignore[reportArgumentType]
        dense(hidden, wide),
        norm,
    )
    mask = jax.ShapeDtypeStruct((batch, length), jnp.bool_)
    options = {"heads": heads, "epsilon": 1e-12, "sub_epsilon": 1e-5}
    return NamedShape((numbers(batch, length, hidden), mask, weights), options)


SHAPES: dict[str, NamedShape] = {
    f"minilm_{batch}x{length}": _call(batch, length, 384, 1536, 12) for batch, length in ((1, 48), (1, 64), (32, 64))
}
"""By name."""
