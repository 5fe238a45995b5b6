"""Unit vectors of descriptions in 8 bits a number: a large catalog's in a checkpoint, in memory, and in the cache on
disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from orchestai_kernels.arrays import BlockArray, Int8Array, decode_blocks, encode_blocks, quantize_int8


def encode_vectors(vectors: Float[np.ndarray, "n d"], block: int) -> BlockArray:
    """The vectors in blocks of `block` numbers. Raises ValueError for a block below 1."""
    return encode_blocks(vectors, block)


def decode_vectors(encoded: BlockArray) -> Float[np.ndarray, "n d"]:
    """The vectors, made unit ones again; those that were zero stay so."""
    return _unit(np.asarray(decode_blocks(encoded)))


def saved_vectors(saved: Any, count: int, width: int) -> tuple[Float[np.ndarray, "n d"], int | None]:
    """`count` vectors of `width` numbers from a checkpoint, and their block size (None where they were float32).

    `saved` is the array, or {"codes", "scale"} of `encode_vectors`. Raises ValueError where it holds others.
    """
    if not isinstance(saved, Mapping):
        return np.asarray(saved), None
    encoded = BlockArray(saved["codes"], saved["scale"], (count, width)).validate()
    return decode_vectors(encoded), encoded.block


def rows_to_bytes(vectors: Float[np.ndarray, "n d"], block: int) -> list[bytes]:
    """Each vector by itself: its length, the codes of its blocks and their scales. Raises ValueError for a block below
    1."""
    count, width = vectors.shape
    blocks = -(-width // block)
    encoded = encode_blocks(np.pad(vectors, ((0, 0), (0, blocks * block - width))), block)
    codes = np.asarray(encoded.codes).reshape(count, blocks * block)
    scale = np.asarray(encoded.scale, "<f4").reshape(count, blocks)
    length = np.uint32(width).astype("<u4").tobytes()
    return [length + row.tobytes() + of_row.tobytes() for row, of_row in zip(codes, scale, strict=True)]


def rows_from_bytes(rows: Sequence[bytes], block: int) -> Float[np.ndarray, "n d"]:
    """The vectors (at least one, all of one length) that `rows_to_bytes` wrote, made unit ones again."""
    (width,) = np.frombuffer(rows[0][:4], "<u4").tolist()
    blocks = -(-width // block)
    layout = np.dtype([("length", "<u4"), ("codes", np.int8, (blocks, block)), ("scale", "<f4", (blocks,))])
    read = np.frombuffer(b"".join(rows), layout)
    values = read["codes"].astype(np.float32) / 127.0 * read["scale"][..., None]
    return _unit(values.reshape(len(rows), blocks * block)[:, :width])


def int8_rows(vectors: Float[np.ndarray, "n d"]) -> Int8Array:
    """The vectors with one scale each."""
    return quantize_int8(vectors)


def float_rows(encoded: Int8Array, rows: Int[np.ndarray, "m"]) -> Float[np.ndarray, "m d"]:
    """Some of the vectors of `int8_rows`, made unit ones again."""
    values, scale = np.asarray(encoded.values)[rows], np.asarray(encoded.scale)[rows]
    return _unit(values.astype(np.float32) * scale[:, None])


def _unit(vectors: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(norms > 0, norms, 1)
