"""Flash attention for TPUs: Pallas kernels that Mosaic compiles.

The grid's last axis walks over what is summed, with sums and maxima in VMEM scratch between its steps; tiles that no
row sees are skipped. Arrays are [batch · kv_heads, length, dim], so that the last two axes are the tiled ones.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jaxtyping import Array, Float

from orchestai_kernels.arrays import Int8Array
from orchestai_kernels.attention.config import TpuTiles
from orchestai_kernels.attention.masks import Masks, RowMasks, visible_tile
from orchestai_kernels.attention.tpu_blocks import LANES, Blocks, by_head, by_length, scale_by_head
from orchestai_kernels.attention.vjp import (
    LOG2_E,
    FlashKernels,
    Static,
    flash_attention,
    pad_axis,
    parts,
    score_gradients,
)
from orchestai_kernels.online_softmax import softmax_end, softmax_step
from orchestai_kernels.tile_products import mosaic_product


def attention_pallas_tpu(
    q: Float[Array, "batch queries heads head_dim"],
    k: Float[Array, "batch keys kv_heads head_dim"] | Int8Array,
    v: Float[Array, "batch keys kv_heads value_dim"] | Int8Array,
    masks: Masks,
    *,
    scale: float,
    config: TpuTiles,
    interpret: bool,
) -> Float[Array, "batch queries heads value_dim"]:
    """Flash attention with a backward of its own."""
    return flash_attention(KERNELS, q, k, v, masks, scale=scale, tiles=config, interpret=interpret)


@dataclasses.dataclass(frozen=True)
class _Tile:
    """Where a tile of scores lies, and what is visible in it."""

    static: Static
    kv_heads: int
    block_rows: int
    block_keys: int

    def reached(self, lengths: Any, starts: Any, head: Array, row_block: Array, key_block: Array) -> Array:
        """Whether any score of the tile counts, as far as lengths and order go."""
        element = jax.lax.div(head, self.kv_heads)
        first_key = key_block * self.block_keys
        reached = first_key < lengths[element]
        if self.static.causal:
            last_row = row_block * self.block_rows + (self.block_rows - 1)
            reached &= (first_key - starts[element]) * self.static.group <= last_row
        return reached

    def visible(
        self, lengths: Any, starts: Any, head: Array, row_block: Array, key_block: Array, hidden: tuple[Any, Any, Any]
    ) -> Array:
        """[rows, keys] of bool; `hidden` is the refs of (mask, row segments, key segments), None where not given."""
        element = jax.lax.div(head, self.kv_heads)
        shape = (self.block_rows, self.block_keys)
        mask, row_segments, key_segments = hidden
        return visible_tile(
            row_block * self.block_rows + jax.lax.broadcasted_iota(jnp.int32, shape, 0),
            key_block * self.block_keys + jax.lax.broadcasted_iota(jnp.int32, shape, 1),
            length=lengths[element],
            start=starts[element],
            group=self.static.group,
            causal=self.static.causal,
            row_segments=None if row_segments is None else row_segments[...],
            key_segments=None if key_segments is None else key_segments[...],
            mask=None if mask is None else mask[...].astype(jnp.int32),
        )


def _forward_kernel(
    lengths: Any,
    starts: Any,
    q_ref: Any,
    k_ref: Any,
    v_ref: Any,
    k_scale: Any,
    v_scale: Any,
    mask: Any,
    row_segments: Any,
    key_segments: Any,
    out_ref: Any,
    lse_ref: Any,
    acc_ref: Any,
    most_ref: Any,
    total_ref: Any,
    *,
    tile: _Tile,
) -> None:
    head, row_block, key_block = (pl.program_id(axis) for axis in range(3))

    @pl.when(key_block == 0)
    def _start() -> None:
        acc_ref[...] = jnp.zeros_like(acc_ref)
        most_ref[...] = jnp.full_like(most_ref, -jnp.inf)
        total_ref[...] = jnp.zeros_like(total_ref)

    @pl.when(tile.reached(lengths, starts, head, row_block, key_block))
    def _step() -> None:
        q = q_ref[...]
        scores = mosaic_product(q, k_ref[...].astype(q.dtype), (1, 1)) * (tile.static.scale * LOG2_E)
        if k_scale is not None:
            scores = scores * k_scale[...]
        hidden = (mask, row_segments, key_segments)
        scores = jnp.where(tile.visible(lengths, starts, head, row_block, key_block, hidden), scores, -jnp.inf)
        weights, fade, most, total = softmax_step(
            scores, most_ref[:, :1], total_ref[:, :1], axis=1, exponential=jnp.exp2
        )
        if v_scale is not None:
            weights = weights * v_scale[...]
        acc_ref[...] = acc_ref[...] * fade + mosaic_product(weights.astype(q.dtype), v_ref[...].astype(q.dtype), (1, 0))
        most_ref[...] = jnp.broadcast_to(most, most_ref.shape)
        total_ref[...] = jnp.broadcast_to(total, total_ref.shape)

    @pl.when(key_block == pl.num_programs(2) - 1)
    def _end() -> None:
        out, lse_ref[...] = softmax_end(acc_ref[...], most_ref[:, :1], total_ref[:, :1], axis=1, logarithm=jnp.log2)
        out_ref[...] = out.astype(out_ref.dtype)


def _dq_kernel(
    lengths: Any,
    starts: Any,
    q_ref: Any,
    k_ref: Any,
    v_ref: Any,
    dout_ref: Any,
    lse_ref: Any,
    delta_ref: Any,
    mask: Any,
    row_segments: Any,
    key_segments: Any,
    dq_ref: Any,
    acc_ref: Any,
    *,
    tile: _Tile,
) -> None:
    head, row_block, key_block = (pl.program_id(axis) for axis in range(3))

    @pl.when(key_block == 0)
    def _start() -> None:
        acc_ref[...] = jnp.zeros_like(acc_ref)

    @pl.when(tile.reached(lengths, starts, head, row_block, key_block))
    def _step() -> None:
        visible = tile.visible(lengths, starts, head, row_block, key_block, (mask, row_segments, key_segments))
        _, dscores = _score_gradients(q_ref, k_ref, v_ref, dout_ref, lse_ref, delta_ref, visible, tile.static)
        acc_ref[...] += mosaic_product(dscores.astype(k_ref.dtype), k_ref[...], (1, 0))

    @pl.when(key_block == pl.num_programs(2) - 1)
    def _end() -> None:
        dq_ref[...] = acc_ref[...].astype(dq_ref.dtype)


def _dkv_kernel(
    lengths: Any,
    starts: Any,
    q_ref: Any,
    k_ref: Any,
    v_ref: Any,
    dout_ref: Any,
    lse_ref: Any,
    delta_ref: Any,
    mask: Any,
    row_segments: Any,
    key_segments: Any,
    dk_ref: Any,
    dv_ref: Any,
    dk_acc: Any,
    dv_acc: Any,
    *,
    tile: _Tile,
) -> None:
    head, key_block, row_block = (pl.program_id(axis) for axis in range(3))

    @pl.when(row_block == 0)
    def _start() -> None:
        dk_acc[...] = jnp.zeros_like(dk_acc)
        dv_acc[...] = jnp.zeros_like(dv_acc)

    @pl.when(tile.reached(lengths, starts, head, row_block, key_block))
    def _step() -> None:
        visible = tile.visible(lengths, starts, head, row_block, key_block, (mask, row_segments, key_segments))
        weights, dscores = _score_gradients(q_ref, k_ref, v_ref, dout_ref, lse_ref, delta_ref, visible, tile.static)
        dv_acc[...] += mosaic_product(weights.astype(dout_ref.dtype), dout_ref[...], (0, 0))
        dk_acc[...] += mosaic_product(dscores.astype(q_ref.dtype), q_ref[...], (0, 0))

    @pl.when(row_block == pl.num_programs(2) - 1)
    def _end() -> None:
        dk_ref[...] = dk_acc[...].astype(dk_ref.dtype)
        dv_ref[...] = dv_acc[...].astype(dv_ref.dtype)


def _score_gradients(
    q_ref: Any, k_ref: Any, v_ref: Any, dout_ref: Any, lse_ref: Any, delta_ref: Any, visible: Array, static: Static
) -> tuple[Array, Array]:
    """See `score_gradients`; both [rows, keys]."""
    products = mosaic_product(q_ref[...], k_ref[...], (1, 1))
    dweights = mosaic_product(dout_ref[...], v_ref[...], (1, 1))
    return score_gradients(products, dweights, lse_ref[...], delta_ref[...], visible, static.scale)


def _forward(q: Array, k: Any, v: Any, masks: RowMasks, static: Static) -> tuple[Array, Array]:
    tiles: TpuTiles = static.tiles
    batch, rows, kv_heads, _ = q.shape
    value_dim = v.shape[-1]
    (k, k_scale), (v, v_scale) = parts(k), parts(v)
    q = by_head(q, tiles.block_rows)
    k, v = by_head(k, tiles.block_keys), by_head(v, tiles.block_keys)
    k_scale, v_scale = (scale_by_head(scale, tiles.block_keys) for scale in (k_scale, v_scale))
    at = Blocks(kv_heads, tiles.block_rows, tiles.block_keys, rows_first=True)
    hidden, hidden_specs = at.hidden(masks)
    out, lse = pl.pallas_call(
        functools.partial(_forward_kernel, tile=_Tile(static, kv_heads, tiles.block_rows, tiles.block_keys)),
        grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=2,
            grid=(q.shape[0], q.shape[1] // tiles.block_rows, k.shape[1] // tiles.block_keys),
            in_specs=[
                at.rows(q.shape[2]),
                at.keys(k.shape[2]),
                at.keys(v.shape[2]),
                None if k_scale is None else at.key_numbers(),
                None if v_scale is None else at.key_numbers(),
                *hidden_specs,
            ],
            out_specs=[at.rows(v.shape[2]), at.rows(1)],
            scratch_shapes=[
                pltpu.VMEM((tiles.block_rows, v.shape[2]), jnp.float32),
                pltpu.VMEM((tiles.block_rows, LANES), jnp.float32),
                pltpu.VMEM((tiles.block_rows, LANES), jnp.float32),
            ],
        ),
        out_shape=[
            jax.ShapeDtypeStruct((*q.shape[:2], v.shape[2]), q.dtype),
            jax.ShapeDtypeStruct((*q.shape[:2], 1), jnp.float32),
        ],
        compiler_params=_PARAMS,
        interpret=static.interpret,
        name="attention_forward",
    )(masks.lengths, masks.starts, q, k, v, k_scale, v_scale, *hidden)
    out = by_length(out[:, :rows, :value_dim], batch)
    return out, lse[:, :rows, 0].reshape(batch, kv_heads, rows)


def _backward(
    q: Array, k: Array, v: Array, masks: RowMasks, dout: Array, lse: Array, delta: Array, static: Static
) -> tuple[Array, Array, Array]:
    tiles: TpuTiles = static.tiles
    batch, rows, kv_heads, head_dim = q.shape
    keys, value_dim = k.shape[1], v.shape[-1]
    block_rows, block_keys = tiles.block_rows_backward, tiles.block_keys_backward
    q, dout = by_head(q, block_rows), by_head(dout, block_rows)
    k, v = by_head(k, block_keys), by_head(v, block_keys)
    lse, delta = (pad_axis(x.reshape(batch * kv_heads, rows, 1), 1, block_rows) for x in (lse, delta))
    heads, row_blocks, key_blocks = q.shape[0], q.shape[1] // block_rows, k.shape[1] // block_keys
    tile = _Tile(static, kv_heads, block_rows, block_keys)

    def specs(at: Blocks) -> list[pl.BlockSpec]:
        dims = at.rows(q.shape[2]), at.keys(k.shape[2]), at.keys(v.shape[2]), at.rows(dout.shape[2])
        return [*dims, at.rows(1), at.rows(1)]

    at = Blocks(kv_heads, block_rows, block_keys, rows_first=True)
    hidden, hidden_specs = at.hidden(masks)
    dq = pl.pallas_call(
        functools.partial(_dq_kernel, tile=tile),
        grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=2,
            grid=(heads, row_blocks, key_blocks),
            in_specs=[*specs(at), *hidden_specs],
            out_specs=at.rows(q.shape[2]),
            scratch_shapes=[pltpu.VMEM((block_rows, q.shape[2]), jnp.float32)],
        ),
        out_shape=jax.ShapeDtypeStruct(q.shape, q.dtype),
        compiler_params=_PARAMS,
        interpret=static.interpret,
        name="attention_dq",
    )(masks.lengths, masks.starts, q, k, v, dout, lse, delta, *hidden)

    at = Blocks(kv_heads, block_rows, block_keys, rows_first=False)
    hidden, hidden_specs = at.hidden(masks)
    dk, dv = pl.pallas_call(
        functools.partial(_dkv_kernel, tile=tile),
        grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=2,
            grid=(heads, key_blocks, row_blocks),
            in_specs=[*specs(at), *hidden_specs],
            out_specs=[at.keys(k.shape[2]), at.keys(v.shape[2])],
            scratch_shapes=[
                pltpu.VMEM((block_keys, k.shape[2]), jnp.float32),
                pltpu.VMEM((block_keys, v.shape[2]), jnp.float32),
            ],
        ),
        out_shape=[jax.ShapeDtypeStruct(k.shape, k.dtype), jax.ShapeDtypeStruct(v.shape, v.dtype)],
        compiler_params=_PARAMS,
        interpret=static.interpret,
        name="attention_dkv",
    )(masks.lengths, masks.starts, q, k, v, dout, lse, delta, *hidden)
    return (
        by_length(dq[:, :rows, :head_dim], batch),
        by_length(dk[:, :keys, :head_dim], batch),
        by_length(dv[:, :keys, :value_dim], batch),
    )


_PARAMS = pltpu.CompilerParams(dimension_semantics=("parallel", "parallel", "arbitrary"))


KERNELS = FlashKernels(_forward, _backward)
