"""`ternary_matmul` for GPUs: Pallas kernels that Triton compiles.

Few tokens are bound by reading the weights: the packed bytes are read as they lie, as words of 4 columns, and one
instruction (dp4a) multiplies a group's four codes by four activations. Many tokens go through the matrix units, int8 by
int8 into int32.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu
from jaxtyping import Array, Float, Int8, Int32

from orchestai_kernels.arrays import TernaryArray, quantize_activations
from orchestai_kernels.ternary_matmul.config import FEW_TOKENS, GpuTiles
from orchestai_kernels.ternary_matmul.packed_rows import packed_rows, rows_in_order
from orchestai_kernels.ternary_matmul.reference import rescale


def pallas_gpu(
    x: Float[Array, "tokens columns"], weight: TernaryArray, *, config: GpuTiles, interpret: bool
) -> Float[Array, "tokens rows"]:
    """Quantise, multiply in a kernel, scale."""
    values, scale = quantize_activations(x)
    multiply = _few if x.shape[0] <= FEW_TOKENS else _many
    if 0 in (*values.shape, *weight.matrix_shape):
        sums = jnp.zeros((values.shape[0], weight.matrix_shape[0]), jnp.int32)
    else:
        sums = multiply(values, weight, config, interpret)
    return rescale(sums, scale, weight).astype(x.dtype)


def _dp4a(codes: Int32[Array, "..."], values: Int32[Array, "..."], total: Int32[Array, "..."], emulate: bool) -> Array:
    """total + the four unsigned bytes of codes by the four signed bytes of values, in each word."""
    if not emulate:
        return plgpu.elementwise_inline_asm(
            "dp4a.u32.s32 $0, $1, $2, $3;",
            args=[codes, values, total],
            constraints="=r,r,r,r",
            pack=1,
            result_shape_dtypes=[jax.ShapeDtypeStruct(total.shape, jnp.int32)],
        )[0]
    for byte in range(4):  # the interpreter knows no GPU instruction
        signed = jax.lax.shift_right_arithmetic(jax.lax.shift_left(values, 24 - 8 * byte), 24)
        total = total + (jax.lax.shift_right_logical(codes, 8 * byte) & 0xFF) * signed
    return total


def _few_kernel(words_ref: Any, values_ref: Any, out_ref: Any, *, step_quads: int, splits: int, emulate: bool) -> None:
    tokens = out_ref.shape[0]
    steps = words_ref.shape[0] // step_quads
    shape = (step_quads, 8)

    def step(index: Array, totals: Any) -> Any:
        at = pl.ds(index * step_quads, step_quads)
        words = words_ref[at, :]  # [quads, 8 rows]: four columns of each of four groups
        added = []
        for token in range(tokens):
            values = jnp.broadcast_to(values_ref[token, at][:, None], shape)
            added.append(
                tuple(
                    _dp4a(jax.lax.shift_right_logical(words, 2 * g) & 0x03030303, values, totals[token][g], emulate)
                    for g in range(4)
                )
            )
        return tuple(added)

    per_split = -(-steps // splits)
    low = pl.program_id(1) * per_split
    zero = jnp.zeros(shape, jnp.int32)
    totals = jax.lax.fori_loop(low, jnp.minimum(low + per_split, steps), step, ((zero,) * 4,) * tokens)
    for token in range(tokens):
        for group in range(4):
            out_ref[token, group, :] = jnp.sum(totals[token][group], axis=0)


def _few(values: Int8[Array, "tokens columns"], weight: TernaryArray, tiles: GpuTiles, interpret: bool) -> Array:
    rows, columns = weight.matrix_shape
    blocks, quads, _ = weight.codes.shape
    at_once = min(tiles.tokens_at_once, values.shape[0])
    tokens = -(-values.shape[0] // at_once) * at_once
    # The largest power of two that divides the row: padding would copy the weights.
    step_quads = min(tiles.quads, quads & -quads)
    words = jax.lax.bitcast_convert_type(weight.codes.reshape(blocks, quads, 8, 4), jnp.int32)
    padded = jnp.pad(values, ((0, tokens - values.shape[0]), (0, quads * 4 - columns)))
    value_words = jax.lax.bitcast_convert_type(padded.reshape(tokens, quads, 4), jnp.int32)
    sums = pl.pallas_call(
        functools.partial(_few_kernel, step_quads=step_quads, splits=tiles.splits, emulate=interpret),
        grid=(blocks, tiles.splits, tokens // at_once),
        in_specs=[
            pl.BlockSpec((None, quads, 8), lambda block, split, token: (block, 0, 0)),
            pl.BlockSpec((at_once, quads), lambda block, split, token: (token, 0)),
        ],
        out_specs=pl.BlockSpec((None, at_once, None, 4, 8), lambda block, split, token: (split, token, block, 0, 0)),
        out_shape=jax.ShapeDtypeStruct((tiles.splits, tokens, blocks, 4, 8), jnp.int32),
        compiler_params=plgpu.CompilerParams(num_warps=tiles.num_warps, num_stages=tiles.num_stages),
        interpret=interpret,
        name="ternary_matvec",
    )(words, value_words)
    of_codes = jnp.sum(sums, axis=0).reshape(tokens, blocks * 32)[: values.shape[0], :rows]
    return of_codes - jnp.sum(values, axis=1, dtype=jnp.int32)[:, None]  # a code is the weight + 1


def _many_kernel(packed_ref: Any, values_ref: Any, out_ref: Any, *, tiles: GpuTiles, steps: int) -> None:
    shape = (tiles.block_tokens, tiles.block_rows)

    def step(index: Array, totals: Any) -> Any:
        at = pl.ds(index * tiles.block_columns, tiles.block_columns)
        packed = packed_ref[:, at].astype(jnp.int32)
        values = values_ref[:, at]
        added = []
        for group in range(4):
            ternary = ((jax.lax.shift_right_logical(packed, 2 * group) & 3) - 1).astype(jnp.int8)
            # t: token, k: column, n: packed row
            product = jax.lax.dot_general(values, ternary, (((1,), (1,)), ((), ())), preferred_element_type=jnp.int32)
            added.append(totals[group] + product)
        return tuple(added)

    totals = jax.lax.fori_loop(0, steps, step, (jnp.zeros(shape, jnp.int32),) * 4)
    for group in range(4):
        out_ref[group, :, :] = totals[group]


def _many(values: Int8[Array, "tokens columns"], weight: TernaryArray, tiles: GpuTiles, interpret: bool) -> Array:
    packed = packed_rows(weight.codes)
    rows, columns = packed.shape[0], values.shape[1]
    tokens = -(-values.shape[0] // tiles.block_tokens) * tiles.block_tokens
    padded = -(-packed.shape[1] // tiles.block_columns) * tiles.block_columns
    padded_rows = -(-rows // tiles.block_rows) * tiles.block_rows
    packed = jnp.pad(packed, ((0, padded_rows - rows), (0, padded - packed.shape[1])))
    values_in = jnp.pad(values, ((0, tokens - values.shape[0]), (0, padded - columns)))
    sums = pl.pallas_call(
        functools.partial(_many_kernel, tiles=tiles, steps=padded // tiles.block_columns),
        grid=(tokens // tiles.block_tokens, padded_rows // tiles.block_rows),
        in_specs=[
            pl.BlockSpec((tiles.block_rows, padded), lambda i, j: (j, 0)),
            pl.BlockSpec((tiles.block_tokens, padded), lambda i, j: (i, 0)),
        ],
        out_specs=pl.BlockSpec((4, tiles.block_tokens, tiles.block_rows), lambda i, j: (0, i, j)),
        out_shape=jax.ShapeDtypeStruct((4, tokens, padded_rows), jnp.int32),
        compiler_params=plgpu.CompilerParams(num_warps=tiles.num_warps, num_stages=tiles.num_stages),
        interpret=interpret,
        name="ternary_matmul",
    )(packed, values_in)
    return rows_in_order(sums[:, : values.shape[0], :rows], weight.matrix_shape[0])
