"""Ternary matrices packed two bits a weight, in the block layout that kernels stream (BitNet b1.58, Ma et al. 2024)."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int8, UInt8

from orchestai_kernels.arrays._concrete import expect, values_of
from orchestai_kernels.arrays.base3 import check_ternary
from orchestai_kernels.arrays.magnitude import mean_magnitude

ROW_BLOCK = 32
"""Rows are padded to a multiple of this: one block of rows is what one vector of packed bytes holds."""

COLUMN_BLOCK = 64
"""Columns are padded to a multiple of this: how far the CPU kernel sums in int16."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TernaryArray:
    """Matrices of weights scale · {-1, 0, 1}, [*batch, rows, columns], packed four to a byte.

    A pytree of two arrays, so it goes through jit, vmap and scan; leading axes stack matrices of one size.

    Invariants (`validate` checks them):
    - codes is uint8 [*batch, N / 32, K / 4, 32], where N is rows padded to 32 and K is columns padded to 64;
    - byte r·4 + kk (r 0..7, kk 0..3) of codes[..., nb, kb, :] holds four weights of column 4·kb + kk: bits 2g and
      2g + 1 belong to row 32·nb + 8g + r (g 0..3);
    - a code is the weight's sign + 1: 0, 1 or 2, never 3; padding has code 1, the weight 0;
    - scale is float32, [*batch] when `axis` is None (one a matrix) and [*batch, rows] when `axis` is 0 (one a row).
    """

    codes: UInt8[Array, "*batch row_blocks column_quads 32"]
    """Packed 2-bit codes."""
    scale: Float32[Array, "..."]
    """What the ternary values are multiplied by."""
    matrix_shape: tuple[int, int] = dataclasses.field(metadata={"static": True})
    """Logical (rows, columns) of each matrix: y = x Wᵀ takes `columns` features to `rows`."""
    axis: int | None = dataclasses.field(default=None, metadata={"static": True})
    """The axis of a matrix that scale runs along: None (one scale a matrix) or 0 (one a row)."""

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """The leading axes."""
        return tuple(self.codes.shape[:-3])

    @property
    def shape(self) -> tuple[int, ...]:
        """The logical shape [*batch, rows, columns]."""
        return (*self.batch_shape, *self.matrix_shape)

    @property
    def nbytes(self) -> int:
        """Bytes that codes and scale take."""
        return self.codes.nbytes + self.scale.nbytes

    def row_scale(self) -> Float32[Array, "*batch rows"]:
        """The scale of each row, whatever `axis` is."""
        if self.axis == 0:
            return self.scale
        return jnp.broadcast_to(self.scale[..., None], (*self.scale.shape, self.matrix_shape[0]))

    def integers(self) -> Int8[Array, "*batch rows columns"]:
        """The values -1, 0 and 1 without the scale."""
        return unpack_ternary(self)

    def validate(self) -> TernaryArray:
        """Return itself; raise ValueError that names both values where an invariant does not hold.

        Codes are looked into unless they are being traced.
        """
        rows, columns = self.matrix_shape
        if self.axis not in (None, 0):
            raise ValueError(f"axis must be None or 0, got {self.axis}")
        expect("codes' dtype", self.codes.dtype, np.dtype(np.uint8))
        expect("scale's dtype", self.scale.dtype, np.dtype(np.float32))
        if self.codes.ndim < 3:
            raise ValueError(f"codes must have at least 3 axes, got shape {self.codes.shape}")
        expect(
            f"codes' last axes for a {rows} x {columns} matrix",
            tuple(self.codes.shape[-3:]),
            packed_shape(rows, columns),
        )
        expect("scale's shape", tuple(self.scale.shape), (*self.batch_shape, *(() if self.axis is None else (rows,))))
        codes = values_of(self.codes)
        if codes is not None:
            unused = np.argwhere(codes & (codes >> 1) & 0x55)
            if len(unused):
                raise ValueError(
                    f"codes must be 0, 1 or 2, got 3 in byte {tuple(map(int, unused[0]))} of {len(unused)} such"
                )
            padded = np.asarray(_unpack(self.codes))
            if padded[..., rows:, :].any() or padded[..., columns:].any():
                raise ValueError(f"padding beyond {rows} x {columns} must have code 1, got other codes")
        return self


def packed_shape(rows: int, columns: int) -> tuple[int, int, int]:
    """The shape of the codes of one matrix."""
    return -(-rows // ROW_BLOCK), -(-columns // COLUMN_BLOCK) * COLUMN_BLOCK // 4, 32


def ternarize(
    weights: Float[Array | np.ndarray, "*batch rows columns"],
) -> tuple[Int8[Array, "*batch rows columns"], Float32[Array, "*batch"]]:
    """(t, m): m = max(mean|W|, 1e-5) of each matrix in float32, t = clamp(round(W · (1 / m)), -1, 1), ties to even.

    The absmean rule of BitNet b1.58 (Ma et al. 2024, equations 1 to 3). A matrix with a NaN or an infinity gets t = 0
    there and a scale that is not finite, so that products with it are NaN; an empty matrix has m = 1e-5. Raises
    ValueError for fewer than two axes.
    """
    weights = jnp.asarray(weights, jnp.float32)
    mean = jnp.maximum(mean_magnitude(weights), 1e-5)
    scaled = jnp.clip(jnp.round(weights * (1.0 / mean)[..., None, None]), -1, 1)
    return jnp.where(jnp.isnan(scaled), 0, scaled).astype(jnp.int8), mean


def pack_ternary(
    values: Int8[Array | np.ndarray, "*batch rows columns"], scale: Float[Array | np.ndarray, "..."] | float
) -> TernaryArray:
    """Pack values of -1, 0 and 1 with a scale of [*batch] (one a matrix) or [*batch, rows] (one a row).

    Raises ValueError for other values (unless traced) and for a scale of another shape.
    """
    check_ternary(values)
    scale = jnp.asarray(scale, jnp.float32)
    *batch, rows, columns = values.shape
    if scale.shape not in ((*batch,), (*batch, rows)):
        raise ValueError(
            f"scale must have shape {(*batch,)} or {(*batch, rows)} for values {values.shape}, got {scale.shape}"
        )
    if isinstance(values, np.ndarray):  # nothing is compiled: what opens a model packs without waiting for it
        codes: Any = jnp.asarray(_codes(values, np))
    else:
        codes = _pack(jnp.asarray(values))
    return TernaryArray(codes, scale, (rows, columns), None if scale.shape == (*batch,) else 0)


@jax.jit
def _pack(values: Int8[Array, "*batch rows columns"]) -> UInt8[Array, "*batch row_blocks column_quads 32"]:
    return _codes(values, jnp)


def _codes(values: Any, xp: Any) -> Any:
    """The packed codes, by NumPy or jnp."""
    *batch, rows, columns = values.shape
    row_blocks, column_quads, _ = packed_shape(rows, columns)
    room = [(0, 0)] * len(batch) + [(0, row_blocks * ROW_BLOCK - rows), (0, column_quads * 4 - columns)]
    codes = xp.pad((values + 1).astype(xp.uint8) & 3, room, constant_values=1)
    codes = codes.reshape(*batch, row_blocks, 4, 8, column_quads, 4)  # [..., nb, g, r, kb, kk]
    shifts = np.asarray([0, 2, 4, 6], np.uint8).reshape(4, 1, 1, 1)
    merged = xp.sum(codes << shifts, axis=-4, dtype=xp.uint8)  # the groups share no bits: their sum is their union
    return xp.moveaxis(merged, -3, -2).reshape(*batch, row_blocks, column_quads, 32)


def unpack_ternary(array: TernaryArray) -> Int8[Array, "*batch rows columns"]:
    """The values -1, 0 and 1 without the scale."""
    rows, columns = array.matrix_shape
    return _unpack(array.codes)[..., :rows, :columns]


def dequantize_ternary(array: TernaryArray) -> Float32[Array, "*batch rows columns"]:
    """The float32 weights that the array stands for: scale · values."""
    return unpack_ternary(array).astype(jnp.float32) * array.row_scale()[..., None]


@jax.jit
def _unpack(
    codes: UInt8[Array, "*batch row_blocks column_quads 32"],
) -> Int8[Array, "*batch padded_rows padded_columns"]:
    *batch, row_blocks, column_quads, _ = codes.shape
    split = jnp.moveaxis(codes.reshape(*batch, row_blocks, column_quads, 8, 4), -3, -2)  # [..., nb, r, kb, kk]
    shifts = np.asarray([0, 2, 4, 6], np.uint8).reshape(4, 1, 1, 1)
    values = ((split[..., None, :, :, :] >> shifts) & 3).astype(jnp.int8) - 1  # [..., nb, g, r, kb, kk]
    return values.reshape(*batch, row_blocks * ROW_BLOCK, column_quads * 4)
