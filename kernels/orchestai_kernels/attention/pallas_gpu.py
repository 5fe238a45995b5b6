"""Flash attention for GPUs: Pallas kernels that Triton compiles.

A program of the forward holds a block of rows and walks over the keys (Dao 2023, algorithm 1). With `splits` each
program walks over a part of the keys, and the parts are joined by their logarithms of sums. Tiles that every row sees
whole are computed without masking.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu
from jaxtyping import Array, Float

from orchestai_kernels.arrays import Int8Array
from orchestai_kernels.attention.config import GpuTiles
from orchestai_kernels.attention.gpu_blocks import Blocks, Hidden, fit, masked_inputs, padded_masks
from orchestai_kernels.attention.masks import Masks, RowMasks
from orchestai_kernels.attention.vjp import (
    LOG2_E,
    FlashKernels,
    Static,
    flash_attention,
    pad_axis,
    pad_given,
    parts,
    score_gradients,
)
from orchestai_kernels.online_softmax import softmax_end, softmax_step
from orchestai_kernels.tile_products import triton_product


def attention_pallas_gpu(
    q: Float[Array, "batch queries heads head_dim"],
    k: Float[Array, "batch keys kv_heads head_dim"] | Int8Array,
    v: Float[Array, "batch keys kv_heads value_dim"] | Int8Array,
    masks: Masks,
    *,
    scale: float,
    config: GpuTiles,
    interpret: bool,
) -> Float[Array, "batch queries heads value_dim"]:
    """Flash attention with a backward of its own."""
    return flash_attention(KERNELS, q, k, v, masks, scale=scale, tiles=config, interpret=interpret)


def _least(*bounds: Array | int) -> Array:
    return functools.reduce(jnp.minimum, [jnp.asarray(bound, jnp.int32) for bound in bounds])


def _up(n: Array, block: int) -> Array:
    """n / block rounded up, for n of at least 0."""
    return jax.lax.div(n + (block - 1), jnp.int32(block))


def _down(n: Array, block: int) -> Array:
    return jax.lax.div(n, jnp.int32(block))


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
    *,
    static: Static,
    steps: int,
) -> None:
    tiles: GpuTiles = static.tiles
    hidden = Hidden(static, lengths[...], starts[...], mask, row_segments, key_segments)
    first_row = pl.program_id(0) * tiles.block_rows
    rows = first_row + jnp.arange(tiles.block_rows)
    q = q_ref[...]

    def step(index: Array, carry: Any, *, masked: bool) -> Any:
        acc, most, total = carry
        at = pl.ds(index * tiles.block_keys, tiles.block_keys)
        scores = triton_product(q, k_ref[at, :].astype(q.dtype), turned=True) * (static.scale * LOG2_E)  # [rows, keys]
        if k_scale is not None:
            scores = scores * k_scale[at][None, :]
        if masked:
            keys = index * tiles.block_keys + jnp.arange(tiles.block_keys)
            scores = jnp.where(hidden.visible(rows, keys, slice(None), at), scores, -jnp.inf)
        weights, fade, most, total = softmax_step(scores, most, total, axis=1, exponential=jnp.exp2)
        if v_scale is not None:
            weights = weights * v_scale[at][None, :]
        acc = acc * fade[:, None] + triton_product(weights.astype(q.dtype), v_ref[at, :].astype(q.dtype))
        return acc, most, total

    per_split = -(-steps // tiles.splits)
    low = pl.program_id(1) * per_split
    high = _least(low + per_split, _up(hidden.length, tiles.block_keys))
    whole = _down(hidden.length, tiles.block_keys)
    if static.causal:
        group = jnp.int32(static.group)
        last = hidden.start + jax.lax.div(first_row + (tiles.block_rows - 1), group)
        high = _least(high, _up(last + 1, tiles.block_keys))
        whole = _least(whole, _down(hidden.start + jax.lax.div(first_row, group) + 1, tiles.block_keys))
    whole = low if hidden.anything else jnp.clip(whole, low, jnp.maximum(low, high))
    carry = (
        jnp.zeros((tiles.block_rows, v_ref.shape[-1]), jnp.float32),
        jnp.full(tiles.block_rows, -jnp.inf, jnp.float32),
        jnp.zeros(tiles.block_rows, jnp.float32),
    )
    carry = jax.lax.fori_loop(low, whole, functools.partial(step, masked=False), carry)
    acc, most, total = jax.lax.fori_loop(whole, high, functools.partial(step, masked=True), carry)
    out, lse_ref[...] = softmax_end(acc, most, total, axis=1, logarithm=jnp.log2)
    out_ref[...] = out.astype(out_ref.dtype)


def _forward(q: Array, k: Any, v: Any, masks: RowMasks, static: Static) -> tuple[Array, Array]:
    tiles: GpuTiles = static.tiles
    batch, rows, kv_heads, _ = q.shape
    value_dim = v.shape[-1]
    (k, k_scale), (v, v_scale) = parts(k), parts(v)
    masks = padded_masks(masks, tiles.block_rows, tiles.block_keys)
    q = fit(q, tiles.block_rows)
    k, v = fit(k, tiles.block_keys), fit(v, tiles.block_keys)
    k_scale, v_scale = pad_given(k_scale, 1, tiles.block_keys), pad_given(v_scale, 1, tiles.block_keys)
    blocks = Blocks(kv_heads)
    args, specs = masked_inputs(masks, blocks, tiles.block_rows, None)
    split_out = (tiles.splits, *q.shape[:-1], v.shape[-1])
    out, lse = pl.pallas_call(
        functools.partial(_forward_kernel, static=static, steps=k.shape[1] // tiles.block_keys),
        grid=(q.shape[1] // tiles.block_rows, tiles.splits, batch * kv_heads),
        in_specs=[
            *specs[:2],
            blocks.block(tiles.block_rows, q.shape[-1]),
            blocks.whole(k.shape[1], k.shape[-1]),
            blocks.whole(v.shape[1], v.shape[-1]),
            None if k_scale is None else blocks.whole(k.shape[1]),
            None if v_scale is None else blocks.whole(v.shape[1]),
            *specs[2:],
        ],
        out_specs=[
            pl.BlockSpec(
                (None, None, tiles.block_rows, None, v.shape[-1]),
                lambda i, s, p: (s, jax.lax.div(p, kv_heads), i, jax.lax.rem(p, kv_heads), 0),
            ),
            pl.BlockSpec(
                (None, None, None, tiles.block_rows),
                lambda i, s, p: (s, jax.lax.div(p, kv_heads), jax.lax.rem(p, kv_heads), i),
            ),
        ],
        out_shape=[
            jax.ShapeDtypeStruct(split_out, q.dtype if tiles.splits == 1 else jnp.float32),
            jax.ShapeDtypeStruct((tiles.splits, batch, kv_heads, q.shape[1]), jnp.float32),
        ],
        compiler_params=plgpu.CompilerParams(num_warps=tiles.num_warps, num_stages=tiles.num_stages),
        interpret=static.interpret,
        name="attention_forward",
    )(*args[:2], q, k, v, k_scale, v_scale, *args[2:])
    out, lse = out[:, :, :rows, :, :value_dim], lse[..., :rows]
    if tiles.splits == 1:
        return out[0], lse[0]
    return _joined(out, lse, q.dtype)


def _joined(out: Array, lse: Array, dtype: Any) -> tuple[Array, Array]:
    """The parts of the keys as one: weighted by the share that each part's sum has in the whole."""
    most = jnp.max(lse, axis=0)
    shares = jnp.exp2(lse - jnp.where(most == -jnp.inf, 0.0, most))  # [splits, batch, kv_heads, rows]
    total = jnp.sum(shares, axis=0)
    shares = shares / jnp.where(total == 0, 1.0, total)
    return jnp.einsum("sbhr,sbrhv->brhv", shares, out).astype(dtype), most + jnp.log2(total)


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
    *,
    static: Static,
) -> None:
    tiles: GpuTiles = static.tiles
    hidden = Hidden(static, lengths[...], starts[...], mask, row_segments, key_segments)
    first_row = pl.program_id(0) * tiles.block_rows_dq
    rows = first_row + jnp.arange(tiles.block_rows_dq)
    q, dout, lse, delta = q_ref[...], dout_ref[...], lse_ref[...], delta_ref[...]

    def step(index: Array, dq: Array) -> Array:
        at = pl.ds(index * tiles.block_keys_dq, tiles.block_keys_dq)
        k, keys = k_ref[at, :], index * tiles.block_keys_dq + jnp.arange(tiles.block_keys_dq)
        _, dscores = score_gradients(  # [rows, keys]
            triton_product(q, k, turned=True),
            triton_product(dout, v_ref[at, :], turned=True),
            lse[:, None],
            delta[:, None],
            hidden.visible(rows, keys, slice(None), at),
            static.scale,
        )
        return dq + triton_product(dscores.astype(q.dtype), k)

    high = _up(hidden.length, tiles.block_keys_dq)
    if static.causal:
        last = hidden.start + jax.lax.div(first_row + (tiles.block_rows_dq - 1), jnp.int32(static.group))
        high = _least(high, _up(last + 1, tiles.block_keys_dq))
    zero = jnp.zeros((tiles.block_rows_dq, q.shape[-1]), jnp.float32)
    dq_ref[...] = jax.lax.fori_loop(0, high, step, zero).astype(dq_ref.dtype)


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
    *,
    static: Static,
    steps: int,
) -> None:
    tiles: GpuTiles = static.tiles
    hidden = Hidden(static, lengths[...], starts[...], mask, row_segments, key_segments)
    first_key = pl.program_id(0) * tiles.block_keys_dkv
    keys = first_key + jnp.arange(tiles.block_keys_dkv)
    k, v = k_ref[...], v_ref[...]

    def step(index: Array, carry: Any) -> Any:
        dk, dv = carry
        at = pl.ds(index * tiles.block_rows_dkv, tiles.block_rows_dkv)
        q, dout, rows = q_ref[at, :], dout_ref[at, :], index * tiles.block_rows_dkv + jnp.arange(tiles.block_rows_dkv)
        weights, dscores = score_gradients(  # [keys, rows]: turned, so that no tile need be transposed
            triton_product(k, q, turned=True),
            triton_product(v, dout, turned=True),
            lse_ref[at][None, :],
            delta_ref[at][None, :],
            hidden.visible(rows, keys, at, slice(None), turned=True),
            static.scale,
        )
        return dk + triton_product(dscores.astype(q.dtype), q), dv + triton_product(weights.astype(dout.dtype), dout)

    low = jnp.int32(0)
    if static.causal:  # the first row that sees the first key
        low = _down(jnp.maximum(first_key - hidden.start, 0) * static.group, tiles.block_rows_dkv)
    high = jnp.where(first_key < hidden.length, steps, 0)
    zero = (jnp.zeros(k.shape, jnp.float32), jnp.zeros(v.shape, jnp.float32))
    dk, dv = jax.lax.fori_loop(low, high, step, zero)
    dk_ref[...] = dk.astype(dk_ref.dtype)
    dv_ref[...] = dv.astype(dv_ref.dtype)


def _backward(
    q: Array, k: Array, v: Array, masks: RowMasks, dout: Array, lse: Array, delta: Array, static: Static
) -> tuple[Array, Array, Array]:
    tiles: GpuTiles = static.tiles
    batch, rows, kv_heads, head_dim = q.shape
    keys, value_dim = k.shape[1], v.shape[-1]
    block_rows = max(tiles.block_rows_dq, tiles.block_rows_dkv)  # powers of two: the larger is a multiple
    block_keys = max(tiles.block_keys_dq, tiles.block_keys_dkv)
    masks = padded_masks(masks, block_rows, block_keys)
    q, dout = fit(q, block_rows), fit(dout, block_rows)
    k, v = fit(k, block_keys), fit(v, block_keys)
    lse, delta = pad_axis(lse, 2, block_rows), pad_axis(delta, 2, block_rows)
    params = plgpu.CompilerParams(num_warps=tiles.num_warps_backward, num_stages=tiles.num_stages_backward)
    arrays = (q, k, v, dout, lse, delta)

    blocks = Blocks(kv_heads)
    args, specs = masked_inputs(masks, blocks, tiles.block_rows_dq, None)
    dq = pl.pallas_call(
        functools.partial(_dq_kernel, static=static),
        grid=(q.shape[1] // tiles.block_rows_dq, batch * kv_heads),
        in_specs=[
            *specs[:2],
            blocks.block(tiles.block_rows_dq, q.shape[-1]),
            blocks.whole(k.shape[1], k.shape[-1]),
            blocks.whole(v.shape[1], v.shape[-1]),
            blocks.block(tiles.block_rows_dq, dout.shape[-1]),
            blocks.row_numbers(tiles.block_rows_dq),
            blocks.row_numbers(tiles.block_rows_dq),
            *specs[2:],
        ],
        out_specs=blocks.block(tiles.block_rows_dq, q.shape[-1]),
        out_shape=jax.ShapeDtypeStruct(q.shape, q.dtype),
        compiler_params=params,
        interpret=static.interpret,
        name="attention_dq",
    )(*args[:2], *arrays, *args[2:])

    blocks = Blocks(kv_heads)
    args, specs = masked_inputs(masks, blocks, None, tiles.block_keys_dkv)
    dk, dv = pl.pallas_call(
        functools.partial(_dkv_kernel, static=static, steps=q.shape[1] // tiles.block_rows_dkv),
        grid=(k.shape[1] // tiles.block_keys_dkv, batch * kv_heads),
        in_specs=[
            *specs[:2],
            blocks.whole(q.shape[1], q.shape[-1]),
            blocks.block(tiles.block_keys_dkv, k.shape[-1]),
            blocks.block(tiles.block_keys_dkv, v.shape[-1]),
            blocks.whole(q.shape[1], dout.shape[-1]),
            blocks.row_numbers(None, q.shape[1]),
            blocks.row_numbers(None, q.shape[1]),
            *specs[2:],
        ],
        out_specs=[
            blocks.block(tiles.block_keys_dkv, k.shape[-1]),
            blocks.block(tiles.block_keys_dkv, v.shape[-1]),
        ],
        out_shape=[jax.ShapeDtypeStruct(k.shape, k.dtype), jax.ShapeDtypeStruct(v.shape, v.dtype)],
        compiler_params=params,
        interpret=static.interpret,
        name="attention_dkv",
    )(*args[:2], *arrays, *args[2:])
    return dq[:, :rows, :, :head_dim], dk[:, :keys, :, :head_dim], dv[:, :keys, :, :value_dim]


KERNELS = FlashKernels(_forward, _backward)
