"""The denser storage of ternary values: five to a byte (1.6 bits each), for files. Kernels read `TernaryArray`."""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int8, UInt8

from orchestai_kernels.arrays._concrete import values_of

_DIGITS = 3 ** np.arange(5)  # the first value is the lowest digit


def pack_base3(values: Int8[Array | np.ndarray, "*batch rows columns"]) -> UInt8[Array, "*batch packed"]:
    """Bytes of five values each: byte i = sum over j of (values[5i + j] + 1) · 3^j, in row-major order of each matrix.

    packed = ceil(rows · columns / 5); the last byte is filled with the value 0 (digit 1). Raises ValueError for values
    other than -1, 0 and 1, unless they are being traced.
    """
    check_ternary(values)
    values = jnp.asarray(values)
    flat = values.reshape(*values.shape[:-2], -1)
    short = -flat.shape[-1] % 5
    digits = jnp.pad(flat + 1, [(0, 0)] * (flat.ndim - 1) + [(0, short)], constant_values=1)
    digits = digits.reshape(*flat.shape[:-1], -1, 5).astype(jnp.int32)
    return jnp.sum(digits * _DIGITS, axis=-1).astype(jnp.uint8)


def unpack_base3(
    packed: UInt8[Array | np.ndarray, "*batch packed"], shape: tuple[int, int]
) -> Int8[Array, "*batch rows columns"]:
    """The int8 values of matrices of `shape` (rows, columns) that `pack_base3` packed.

    Raises ValueError when the length does not fit the shape, and for bytes over 242 (not five ternary digits), unless
    they are being traced.
    """
    rows, columns = shape
    wanted = math.ceil(rows * columns / 5)
    if packed.shape[-1] != wanted:
        raise ValueError(f"packed must hold {wanted} bytes for shape {tuple(shape)}, got {packed.shape[-1]}")
    known = values_of(packed)
    if known is not None and known.size and known.max() > 242:
        raise ValueError(f"packed must hold bytes of five ternary digits (at most 242), got {known.max()}")
    digits = jnp.asarray(packed)[..., None].astype(jnp.int32) // _DIGITS % 3
    flat = digits.reshape(*packed.shape[:-1], -1)[..., : rows * columns]
    return (flat - 1).astype(jnp.int8).reshape(*packed.shape[:-1], rows, columns)


def check_ternary(values: Array | np.ndarray) -> None:
    """Raise ValueError unless they are matrices of -1, 0 and 1; traced values are not looked into."""
    if np.ndim(values) < 2:
        raise ValueError(f"values must be [*batch, rows, columns], got shape {np.shape(values)}")
    known = values_of(values)
    if known is None or not known.size:
        return
    if not (known.min() >= -1 and known.max() <= 1):  # so that a NaN is told too
        raise ValueError(f"values must be -1, 0 or 1, got values from {known.min()} to {known.max()}")
    if known.dtype.kind == "f" and (known != np.round(known)).any():
        raise ValueError(f"values must be -1, 0 or 1, got {known[known != np.round(known)][0]}")
