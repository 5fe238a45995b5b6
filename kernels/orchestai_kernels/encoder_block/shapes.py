"""Named shapes of `encoder_block`: MiniLM's block, for one instruction and for a batch."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from orchestai_kernels.encoder_block.weights import BlockWeights, Dense, Norm
from orchestai_kernels.shapes import NamedShape


def _call(batch: int, length: int, hidden: int, wide: int, heads: int) -> NamedShape:
    def numbers(*shape: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, jnp.float32)

    def dense(columns: int, rows: int = hidden) -> Dense:
        kernel, bias = numbers(rows, columns), numbers(columns)
        return Dense(kernel, bias)  # pyright: ignore[reportArgumentType]  shapes in place of arrays

    scale, bias = numbers(hidden), numbers(hidden)
    norm = Norm(scale, bias)  # pyright: ignore[reportArgumentType]
    square = dense(hidden)
    weights = BlockWeights(square, square, square, square, norm, dense(wide), dense(hidden, wide), norm)
    mask = jax.ShapeDtypeStruct((batch, length), jnp.bool_)
    return NamedShape((numbers(batch, length, hidden), mask, weights), {"heads": heads, "epsilon": 1e-12})


SHAPES: dict[str, NamedShape] = {
    f"minilm_{batch}x{length}": _call(batch, length, 384, 1536, 12) for batch, length in ((1, 48), (1, 64), (32, 64))
}
"""By name."""
