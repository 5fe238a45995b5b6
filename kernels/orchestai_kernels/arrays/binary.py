"""Binary matrices, one bit a weight: the original BitNet (Wang et al. 2023)."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int8, UInt8

from orchestai_kernels.arrays._concrete import expect, values_of
from orchestai_kernels.arrays.magnitude import mean_magnitude


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class BinaryArray:
    """Matrices of weights scale · {-1, 1}, [*batch, rows, columns], packed eight to a byte.

    A pytree of two arrays; leading axes stack matrices of one size.

    Invariants (`validate` checks them): bits is uint8 [*batch, rows, ceil(columns / 8)], bit b of byte i stands for
    column 8i + b, 1 for +1 and 0 for -1, padding 0; scale is float32 [*batch].
    """

    bits: UInt8[Array, "*batch rows packed"]
    """Packed signs."""
    scale: Float32[Array, "*batch"]
    """What the signs are multiplied by."""
    matrix_shape: tuple[int, int] = dataclasses.field(metadata={"static": True})
    """Logical (rows, columns) of each matrix."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The logical shape [*batch, rows, columns]."""
        return (*self.bits.shape[:-2], *self.matrix_shape)

    def validate(self) -> BinaryArray:
        """Return itself; raise ValueError that names both values where an invariant does not hold."""
        rows, columns = self.matrix_shape
        expect("bits' dtype", self.bits.dtype, np.dtype(np.uint8))
        expect("scale's dtype", self.scale.dtype, np.dtype(np.float32))
        expect(
            f"bits' last axes for a {rows} x {columns} matrix", tuple(self.bits.shape[-2:]), (rows, -(-columns // 8))
        )
        expect("scale's shape", tuple(self.scale.shape), tuple(self.bits.shape[:-2]))
        bits = values_of(self.bits)
        if bits is not None and columns % 8 and (bits[..., -1] >> (columns % 8)).any():
            raise ValueError(f"padding beyond column {columns} must be 0, got ones")
        return self


def binarize(
    weights: Float[Array | np.ndarray, "*batch rows columns"],
) -> tuple[Int8[Array, "*batch rows columns"], Float32[Array, "*batch"]]:
    """(b, beta): beta = mean|W| of each matrix; b = 1 above the mean of W, else -1 (Wang et al. 2023, eq. 1-3).

    An empty matrix has beta = 0. Raises ValueError for fewer than two axes.
    """
    weights = jnp.asarray(weights, jnp.float32)
    beta = mean_magnitude(weights)
    mean = jnp.mean(weights, axis=(-2, -1), keepdims=True)
    return jnp.where(weights > mean, 1, -1).astype(jnp.int8), beta


def pack_binary(
    values: Int8[Array | np.ndarray, "*batch rows columns"], scale: Float[Array | np.ndarray, "..."] | float
) -> BinaryArray:
    """Pack values of -1 and 1 with one scale a matrix.

    Raises ValueError for other values (unless traced) and for a scale of another shape.
    """
    if np.ndim(values) < 2:
        raise ValueError(f"values must be [*batch, rows, columns], got shape {np.shape(values)}")
    known = values_of(values)
    if known is not None and (np.abs(known) != 1).any():
        raise ValueError(f"values must be -1 or 1, got {known[np.abs(known) != 1][0]}")
    values, scale = jnp.asarray(values), jnp.asarray(scale, jnp.float32)
    if scale.shape != values.shape[:-2]:
        raise ValueError(f"scale must have shape {values.shape[:-2]} for values {values.shape}, got {scale.shape}")
    rows, columns = values.shape[-2:]
    return BinaryArray(jnp.packbits(values > 0, axis=-1, bitorder="little"), scale, (rows, columns))


def unpack_binary(array: BinaryArray) -> Int8[Array, "*batch rows columns"]:
    """The values -1 and 1 without the scale."""
    bits = jnp.unpackbits(array.bits, axis=-1, count=array.matrix_shape[1], bitorder="little")
    return bits.astype(jnp.int8) * 2 - 1
