"""`ternary_matmul` for TPUs: a Pallas kernel that Mosaic compiles.

The grid's last axis walks over the columns, with int32 sums in VMEM between its steps; each step unpacks a tile of
packed rows to int8 and multiplies its four groups in the matrix unit.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jaxtyping import Array, Float

from orchestai_kernels.arrays import TernaryArray, quantize_activations
from orchestai_kernels.ternary_matmul.config import TpuTiles
from orchestai_kernels.ternary_matmul.packed_rows import packed_rows, rows_in_order
from orchestai_kernels.ternary_matmul.reference import rescale

_INT8_ROWS = 32  # rows of an int8 tile


def pallas_tpu(
    x: Float[Array, "tokens columns"], weight: TernaryArray, *, config: TpuTiles, interpret: bool
) -> Float[Array, "tokens rows"]:
    """Quantise, multiply in a kernel, scale."""
    values, scale = quantize_activations(x)
    if 0 in (*values.shape, *weight.matrix_shape):
        sums = jnp.zeros((values.shape[0], weight.matrix_shape[0]), jnp.int32)
    else:
        sums = _multiply(values, weight, config, interpret)
    return rescale(sums, scale, weight).astype(x.dtype)


def _kernel(packed_ref: Any, values_ref: Any, out_ref: Any) -> None:
    @pl.when(pl.program_id(2) == 0)
    def _start() -> None:
        out_ref[...] = jnp.zeros(out_ref.shape, jnp.int32)

    packed = packed_ref[...].astype(jnp.int32)
    values = values_ref[...]
    for group in range(4):
        ternary = ((jax.lax.shift_right_logical(packed, 2 * group) & 3) - 1).astype(jnp.int8)
        # t: token, k: column, n: packed row
        out_ref[group, :, :] += jax.lax.dot_general(
            values, ternary, (((1,), (1,)), ((), ())), preferred_element_type=jnp.int32
        )


def _multiply(values: Array, weight: TernaryArray, tiles: TpuTiles, interpret: bool) -> Array:
    packed = packed_rows(weight.codes)
    rows, columns = packed.shape[0], values.shape[1]
    block_tokens = min(tiles.block_tokens, -(-values.shape[0] // _INT8_ROWS) * _INT8_ROWS)
    tokens = -(-values.shape[0] // block_tokens) * block_tokens
    padded = -(-packed.shape[1] // tiles.block_columns) * tiles.block_columns
    padded_rows = -(-rows // tiles.block_rows) * tiles.block_rows
    packed = jnp.pad(packed, ((0, padded_rows - rows), (0, padded - packed.shape[1])))
    values_in = jnp.pad(values, ((0, tokens - values.shape[0]), (0, padded - columns)))
    sums = pl.pallas_call(
        _kernel,
        grid=(tokens // block_tokens, padded_rows // tiles.block_rows, padded // tiles.block_columns),
        in_specs=[
            pl.BlockSpec((tiles.block_rows, tiles.block_columns), lambda i, j, k: (j, k)),
            pl.BlockSpec((block_tokens, tiles.block_columns), lambda i, j, k: (i, k)),
        ],
        out_specs=pl.BlockSpec((4, block_tokens, tiles.block_rows), lambda i, j, k: (0, i, j)),
        out_shape=jax.ShapeDtypeStruct((4, tokens, padded_rows), jnp.int32),
        compiler_params=pltpu.CompilerParams(dimension_semantics=("parallel", "parallel", "arbitrary")),
        interpret=interpret,
        name="ternary_matmul",
    )(packed, values_in)
    return rows_in_order(sums[:, : values.shape[0], :rows], weight.matrix_shape[0])
