"""The packing of ternary matrices in Hugging Face's BitNet files: rows in quarters, four to a byte."""

from __future__ import annotations

import numpy as np


def unpack_quarters(packed: np.ndarray, name: str = "weight") -> np.ndarray:
    """int8 values [4R, K] of packed uint8 [R, K]: byte [r, k] holds rows r, R + r, 2R + r, 3R + r from the low bits up.

    Raises ValueError, with the name, for another dtype or shape, and for the code 3, which stands for nothing.
    """
    if packed.dtype != np.uint8 or packed.ndim != 2:
        raise ValueError(f"{name}: packed weights must be uint8 [rows / 4, columns], got {packed.dtype}{packed.shape}")
    unused = np.argwhere(packed & (packed >> 1) & 0x55)
    if len(unused):
        row, column = (int(i) for i in unused[0])
        raise ValueError(f"{name}: holds the unused code 3 in {len(unused)} bytes, the first at [{row}, {column}]")
    return np.concatenate([((packed >> shift) & 3).astype(np.int8) - 1 for shift in (0, 2, 4, 6)])


def pack_quarters(values: np.ndarray, name: str = "weight") -> np.ndarray:
    """Packed uint8 [R, K] of int8 values -1, 0, 1 [4R, K].

    Raises ValueError, with the name, for rows that are no multiple of 4.
    """
    if values.shape[0] % 4:
        raise ValueError(f"{name}: rows must be a multiple of 4 to be packed, got {values.shape[0]}")
    codes = (values + 1).astype(np.uint8)
    quarters = np.split(codes, 4)
    return quarters[0] | quarters[1] << 2 | quarters[2] << 4 | quarters[3] << 6
