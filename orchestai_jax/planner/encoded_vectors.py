"""Unit vectors of descriptions in 8 bits a number: a large catalog's in a checkpoint, and in the cache on disk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float
from orchestai_kernels.arrays import BlockArray, decode_blocks, encode_blocks


def encode_vectors(vectors: Float[np.ndarray, "n d"], block: int) -> BlockArray:
    """The vectors in blocks of `block` numbers. Raises ValueError for a block below 1."""
    return encode_blocks(vectors, block)


def decode_vectors(encoded: BlockArray) -> Float[np.ndarray, "n d"]:
    """The vectors, made unit ones again; those that were zero stay so."""
    vectors = np.asarray(decode_blocks(encoded))
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(norms > 0, norms, 1)


def saved_vectors(saved: Any, count: int, width: int) -> tuple[Float[np.ndarray, "n d"], int | None]:
    """`count` vectors of `width` numbers from a checkpoint, and their block size (None where they were float32).

    `saved` is the array, or {"codes", "scale"} of `encode_vectors`. Raises ValueError where it holds others.
    """
    if not isinstance(saved, Mapping):
        return np.asarray(saved), None
    encoded = BlockArray(saved["codes"], saved["scale"], (count, width)).validate()
    return decode_vectors(encoded), encoded.block
