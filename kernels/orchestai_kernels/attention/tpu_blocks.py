"""How the TPU's flash kernels lay their arrays out and cut them into blocks."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jaxtyping import Array

from orchestai_kernels.attention.masks import RowMasks
from orchestai_kernels.attention.vjp import pad_axis, pad_given

LANES = 128
"""Numbers in a row of a vector register, to which the last axis is padded."""


class Blocks:
    """Block specs of a grid (batch · kv_heads, rows, keys), or (…, keys, rows) where rows do not come first. The index
    maps also get the prefetched scalars.
    """

    def __init__(self, kv_heads: int, block_rows: int, block_keys: int, rows_first: bool):
        self.kv_heads, self.block_rows, self.block_keys = kv_heads, block_rows, block_keys
        self.row_axis, self.key_axis = (1, 2) if rows_first else (2, 1)

    def rows(self, dim: int) -> pl.BlockSpec:
        """[batch · kv_heads, rows, dim] by rows."""
        return pl.BlockSpec((None, self.block_rows, dim), lambda *g: (g[0], g[self.row_axis], 0))

    def keys(self, dim: int) -> pl.BlockSpec:
        """[batch · kv_heads, keys, dim] by keys."""
        return pl.BlockSpec((None, self.block_keys, dim), lambda *g: (g[0], g[self.key_axis], 0))

    def key_numbers(self) -> pl.BlockSpec:
        """[batch · kv_heads, 1, keys] by keys."""
        return pl.BlockSpec((None, 1, self.block_keys), lambda *g: (g[0], 0, g[self.key_axis]))

    def hidden(self, masks: RowMasks) -> tuple[list[Any], list[Any]]:
        """(mask, row segments [batch, rows, 1], key segments [batch, 1, keys]) and their specs."""
        mask = pad_given(pad_given(masks.mask, 2, self.block_rows), 3, self.block_keys)
        arrays: list[Any] = [mask, None, None]
        specs: list[Any] = [None, None, None]
        if mask is not None:
            b, heads = mask.shape[:2]

            def mask_at(*g: Any) -> tuple[Any, ...]:
                element, head = jax.lax.div(g[0], self.kv_heads), jax.lax.rem(g[0], self.kv_heads)
                return (element if b > 1 else 0, head if heads > 1 else 0, g[self.row_axis], g[self.key_axis])

            specs[0] = pl.BlockSpec((None, None, self.block_rows, self.block_keys), mask_at)
        if masks.row_segments is not None and masks.key_segments is not None:
            arrays[1] = pad_axis(masks.row_segments[:, :, None], 1, self.block_rows)
            arrays[2] = pad_axis(masks.key_segments[:, None, :], 2, self.block_keys)
            specs[1] = pl.BlockSpec(
                (None, self.block_rows, 1), lambda *g: (jax.lax.div(g[0], self.kv_heads), g[self.row_axis], 0)
            )
            specs[2] = pl.BlockSpec(
                (None, 1, self.block_keys), lambda *g: (jax.lax.div(g[0], self.kv_heads), 0, g[self.key_axis])
            )
        return arrays, specs


def by_head(x: Array, block: int) -> Array:
    """[batch, length, kv_heads, dim] → [batch · kv_heads, whole blocks, dim in whole lanes]."""
    batch, length, heads, dim = x.shape
    by_head = jnp.swapaxes(x, 1, 2).reshape(batch * heads, length, dim)
    return pad_axis(pad_axis(by_head, 1, block), 2, LANES)


def by_length(x: Array, batch: int) -> Array:
    """[batch · kv_heads, length, dim] → [batch, length, kv_heads, dim]."""
    return jnp.swapaxes(x.reshape(batch, -1, *x.shape[1:]), 1, 2)


def scale_by_head(scale: Array | None, block: int) -> Array | None:
    """[batch, keys, kv_heads] → [batch · kv_heads, 1, whole blocks]."""
    if scale is None:
        return None
    batch, keys, heads = scale.shape
    return pad_axis(jnp.swapaxes(scale, 1, 2).reshape(batch * heads, 1, keys), 2, block)
