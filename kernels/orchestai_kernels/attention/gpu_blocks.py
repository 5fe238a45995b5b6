"""How the GPU's flash kernels cut their arrays into blocks."""

from __future__ import annotations

import functools
from typing import Any

import jax
from jax.experimental import pallas as pl
from jaxtyping import Array

from orchestai_kernels.arrays import Int8Array
from orchestai_kernels.attention.masks import RowMasks
from orchestai_kernels.attention.vjp import pad_axis, pad_given


class Blocks:
    """Block specs over arrays [batch, length, kv_heads, dim]; the grid's last axis is batch × kv_heads, its first walks
    over rows (`row_axis` 0) or over keys (None).
    """

    def __init__(self, kv_heads: int, row_axis: int | None):
        self.kv_heads, self.row_axis = kv_heads, row_axis

    def of(self, p: Any) -> tuple[Any, Any]:
        """(batch element, key head) of a program."""
        return jax.lax.div(p, self.kv_heads), jax.lax.rem(p, self.kv_heads)

    def number(self) -> pl.BlockSpec:
        """One number a batch element."""
        return pl.BlockSpec((None,), lambda *g: (self.of(g[-1])[0],))

    def rows(self, block: int, dim: int) -> pl.BlockSpec:
        """A block of the length's axis, by the grid's first axis."""
        return pl.BlockSpec((None, block, None, dim), lambda *g: (self.of(g[-1])[0], g[0], self.of(g[-1])[1], 0))

    columns = rows

    def whole(self, length: int, dim: int | None = None) -> pl.BlockSpec:
        """All of the length's axis; without `dim` of an array [batch, length, kv_heads]."""
        if dim is None:
            return pl.BlockSpec((None, length, None), lambda *g: (self.of(g[-1])[0], 0, self.of(g[-1])[1]))
        return pl.BlockSpec((None, length, None, dim), lambda *g: (self.of(g[-1])[0], 0, self.of(g[-1])[1], 0))

    def row_numbers(self, block: int | None, length: int = 0) -> pl.BlockSpec:
        """Of an array [batch, kv_heads, rows]: a block of rows by the grid's first axis, or all."""
        return pl.BlockSpec((None, None, block or length), lambda *g: (*self.of(g[-1]), g[0] if block else 0))


def masked_inputs(
    masks: RowMasks, blocks: Blocks, block_rows: int | None, block_keys: int | None
) -> tuple[list[Any], list[Any]]:
    """(lengths, starts, mask, row segments, key segments) and their specs: blocked along rows or keys, else whole."""

    def along(block: int | None, length: int) -> tuple[int, Any]:
        return (length, lambda g: 0) if block is None else (block, lambda g: g[0])

    specs: list[Any] = [blocks.number(), blocks.number(), None, None, None]
    if masks.mask is not None:
        b, heads, rows, keys = masks.mask.shape
        (row_block, row_at), (key_block, key_at) = along(block_rows, rows), along(block_keys, keys)

        def mask_at(*g: Any) -> tuple[Any, ...]:
            element, head = blocks.of(g[-1])
            return (element if b > 1 else 0, head if heads > 1 else 0, row_at(g), key_at(g))

        specs[2] = pl.BlockSpec((None, None, row_block, key_block), mask_at)
    if masks.row_segments is not None and masks.key_segments is not None:
        for index, block, segments in ((3, block_rows, masks.row_segments), (4, block_keys, masks.key_segments)):
            size, at = along(block, segments.shape[1])
            specs[index] = pl.BlockSpec((None, size), functools.partial(_segment_at, blocks, at))
    return [masks.lengths, masks.starts, masks.mask, masks.row_segments, masks.key_segments], specs


def _segment_at(blocks: Blocks, at: Any, *g: Any) -> tuple[Any, Any]:
    return blocks.of(g[-1])[0], at(g)


def padded_masks(masks: RowMasks, block_rows: int, block_keys: int) -> RowMasks:
    """Masks of whole blocks; padded keys lie beyond every length, padded rows are cut off."""
    return RowMasks(
        masks.lengths,
        masks.starts,
        pad_given(pad_given(masks.mask, 2, block_rows), 3, block_keys),
        pad_given(masks.row_segments, 1, block_rows),
        pad_given(masks.key_segments, 1, block_keys),
    )


def fit(x: Array, block: int) -> Array:
    """[batch, length, kv_heads, dim] padded to whole blocks, and dim to a power of two that Triton can multiply."""
    dim = max(16, pl.next_power_of_2(x.shape[-1]))
    return pad_axis(pad_axis(x, 1, block), 3, dim)


def parts(x: Array | Int8Array) -> tuple[Array, Array | None]:
    """(numbers, scales), None for float numbers."""
    return (x.values, x.scale) if isinstance(x, Int8Array) else (x, None)
