"""Matrices of int8 with one scale a row, or a block of a row: embeddings, vocabulary heads, key and value caches."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int8

from orchestai_kernels.arrays._concrete import expect, values_of
from orchestai_kernels.arrays.magnitude import largest_magnitude


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Int8Array:
    """Numbers scale · {-127 .. 127}, [*batch, rows, columns].

    A pytree of two arrays; leading axes stack matrices.

    Invariants (`validate` checks them): values is int8 and never -128 (kernels negate); scale is float32,
    [*batch, rows] when `block` is None, else [*batch, rows, columns / block] where block divides columns.
    """

    values: Int8[Array, "*batch rows columns"]
    """The integers."""
    scale: Float32[Array, "..."]
    """What they are multiplied by."""
    block: int | None = dataclasses.field(default=None, metadata={"static": True})
    """How many columns share a scale; None: the whole row."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The logical shape [*batch, rows, columns]."""
        return tuple(self.values.shape)

    @property
    def nbytes(self) -> int:
        """Bytes that values and scale take."""
        return self.values.nbytes + self.scale.nbytes

    def integers(self) -> Int8[Array, "*batch rows columns"]:
        """The integers without the scale."""
        return self.values

    def row_scale(self) -> Float32[Array, "*batch rows"]:
        """The scale of each row. Raises ValueError where a row has several."""
        if self.block is not None:
            raise ValueError(f"block must be None for one scale a row, got {self.block}")
        return self.scale

    def validate(self) -> Int8Array:
        """Return itself; raise ValueError that names both values where an invariant does not hold.

        Values are looked into unless they are being traced.
        """
        expect("values' dtype", self.values.dtype, np.dtype(np.int8))
        expect("scale's dtype", self.scale.dtype, np.dtype(np.float32))
        blocks = _blocks(self.shape[-1], self.block)
        expect("scale's shape", tuple(self.scale.shape), (*self.shape[:-1], *blocks))
        values = values_of(self.values)
        if values is not None and values.size and values.min() < -127:
            raise ValueError(f"values must lie in -127 .. 127, got {values.min()}")
        return self


def quantize_int8(x: Float[Array | np.ndarray, "*batch rows columns"], block: int | None = None) -> Int8Array:
    """Round each row (or block of a row) to 127 steps of its largest absolute value, ties to even.

    A block of zeros has scale 0. A block with a NaN or an infinity has values 0 and a scale that is not finite, so that
    all of it reads as NaN. Raises ValueError when `block` does not divide the columns.
    """
    x = jnp.asarray(x, jnp.float32)
    blocks = _blocks(x.shape[-1], block)
    split = x.reshape(*x.shape[:-1], *(blocks or (1,)), x.shape[-1] if block is None else block)
    scale = largest_magnitude(split) / 127.0
    steps = split / scale[..., None]  # NaN where scale is 0, infinite or NaN: no step but 0 to stand on
    values = jnp.where(jnp.isfinite(steps), jnp.clip(jnp.round(steps), -127, 127), 0).astype(jnp.int8).reshape(x.shape)
    return Int8Array(values, scale if blocks else scale[..., 0], block)


def dequantize_int8(array: Int8Array) -> Float32[Array, "*batch rows columns"]:
    """The float32 numbers that the array stands for: scale · values."""
    values = array.values.astype(jnp.float32)
    if array.block is None:
        return values * array.scale[..., None]
    split = values.reshape(*array.shape[:-1], -1, array.block)
    return (split * array.scale[..., None]).reshape(array.shape)


def _blocks(columns: int, block: int | None) -> tuple[int, ...]:
    if block is None:
        return ()
    if block < 1 or columns % block:
        raise ValueError(f"block must divide the columns: {block} does not divide {columns}")
    return (columns // block,)
