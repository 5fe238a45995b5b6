"""How the GPU's flash kernels cut their arrays into blocks, and what a block may see."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

from jax.experimental import pallas as pl
from jaxtyping import Array

from orchestai_kernels.attention.masks import RowMasks, visible_tile
from orchestai_kernels.attention.vjp import Static, pad_axis, pad_given
from orchestai_kernels.head_blocks import HeadBlocks


class Blocks(HeadBlocks):
    """Block specs over arrays [batch, length, kv_heads, dim]; the grid's first axis walks over rows or over keys."""

    def number(self) -> pl.BlockSpec:
        """One number a batch element."""
        return pl.BlockSpec((None,), lambda *g: (self.of(g[-1])[0],))

    def row_numbers(self, block: int | None, length: int = 0) -> pl.BlockSpec:
        """Of an array [batch, kv_heads, rows]: a block of rows by the grid's first axis, or all."""
        return pl.BlockSpec((None, None, block or length), lambda *g: (*self.of(g[-1]), g[0] if block else 0))


@dataclasses.dataclass(frozen=True)
class Hidden:
    """Within a kernel: what a program's tiles of scores may see."""

    static: Static
    """What the kernel is specialised for."""
    length: Array
    """Visible keys."""
    start: Array
    """Position of the first query."""
    mask: Any
    """Ref [rows, keys] or None; as the others, blocked along rows or keys, else whole."""
    row_segments: Any
    """Ref [rows] or None."""
    key_segments: Any
    """Ref [keys] or None."""

    @property
    def anything(self) -> bool:
        """Whether more is hidden than lengths and order hide."""
        return self.mask is not None or self.row_segments is not None

    def visible(self, rows: Array, keys: Array, row_at: Any, key_at: Any, *, turned: bool = False) -> Array:
        """Which scores of the tile [rows, keys] count, or of [keys, rows] if `turned`.

        Args:
          rows, keys: their numbers, [rows] and [keys].
          row_at, key_at: where they lie in the refs.
        """

        def by_row(x: Array) -> Array:
            return x[None, :] if turned else x[:, None]

        def by_key(x: Array) -> Array:
            return x[:, None] if turned else x[None, :]

        mask = None if self.mask is None else self.mask[row_at, key_at]
        return visible_tile(
            by_row(rows),
            by_key(keys),
            length=self.length,
            start=self.start,
            group=self.static.group,
            causal=self.static.causal,
            row_segments=None if self.row_segments is None else by_row(self.row_segments[row_at]),
            key_segments=None if self.key_segments is None else by_key(self.key_segments[key_at]),
            mask=mask.T if turned and mask is not None else mask,
        )


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
