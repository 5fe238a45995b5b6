"""The packed codes as a matrix of packed rows, which matrix units take tile by tile."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Int32, UInt8


def packed_rows(codes: UInt8[Array, "row_blocks column_quads 32"]) -> UInt8[Array, "packed_rows columns"]:
    """[8 · row_blocks, 4 · column_quads]: byte (8·nb + r, k) holds column k of rows 32·nb + 8g + r in bits 2g, 2g + 1.

    A pass over the packed bytes; XLA takes it out of loops over the same weight.
    """
    blocks, quads, _ = codes.shape
    return jnp.swapaxes(codes.reshape(blocks, quads, 8, 4), 1, 2).reshape(blocks * 8, quads * 4)


def rows_in_order(sums: Int32[Array, "4 tokens packed_rows"], rows: int) -> Int32[Array, "tokens rows"]:
    """Sums by group and packed row to sums by row: row 32·nb + 8g + r is group g of packed row 8·nb + r."""
    groups, tokens, packed = sums.shape
    split = sums.reshape(groups, tokens, packed // 8, 8)
    return jnp.transpose(split, (1, 2, 0, 3)).reshape(tokens, packed * groups)[:, :rows]
