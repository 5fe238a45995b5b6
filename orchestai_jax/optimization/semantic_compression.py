"""Lossy compression of arrays at a wanted ratio: 8-bit blocks, low rank in 8 bits, or both.

The three users: optimizer moments (`encoded_moments`, inside the train step), the description vectors of large
catalogs, and checkpoints, which hold both as they are kept.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32
from orchestai_kernels.arrays import BlockArray, decode_blocks, encode_blocks

Method = Literal["blocks", "low_rank", "low_rank_and_blocks"]

_encode_blocks = jax.jit(encode_blocks, static_argnums=1)
_decode_blocks = jax.jit(decode_blocks)

_WORTHWHILE = 0.5
"""Factors cost a product at each decoding: they are taken where they at least halve the error of blocks that fit."""
_MOST_SVD = 4096
"""Matrices whose shorter side is above this are not tried at low rank: the decomposition would take minutes."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Encoded:
    """A compressed array, a pytree of BlockArrays.

    Invariants: `low_rank` is None or the factors (left [rows, rank], right [rank, columns]) of the array as a matrix,
    its leading axes made one; `blocks` is the array, or what the factors leave of it, or None.
    """

    blocks: BlockArray | None
    """The array, or the residual of the factors."""
    low_rank: tuple[BlockArray, BlockArray] | None
    """Factors whose product is the array, or most of it."""
    shape: tuple[int, ...] = dataclasses.field(metadata={"static": True})
    """Of the array."""
    relative_error: float = dataclasses.field(metadata={"static": True})
    """‖decoded − x‖ / ‖x‖ (Frobenius), measured on what was encoded; 0 for an array of zeros."""

    @property
    def method(self) -> Method:
        """How it was encoded."""
        if self.low_rank is None:
            return "blocks"
        return "low_rank" if self.blocks is None else "low_rank_and_blocks"

    @property
    def nbytes(self) -> int:
        """Bytes of all codes and scales."""
        return sum(leaf.nbytes for leaf in jax.tree.leaves(self))

    @property
    def compression_ratio(self) -> float:
        """Encoded bytes over those of float32."""
        return self.nbytes / (4 * max(math.prod(self.shape), 1))


def encode(
    x: Float[Array | np.ndarray, "..."],
    *,
    compression_ratio: float = 0.3,
    block_size: int = 64,
    max_error: float = 0.05,
) -> Encoded:
    """Encode an array in at most `compression_ratio` of its float32 bytes: in blocks, or at low rank where that is
    better (blocks do not fit, or err more than twice as much).

    Args:
      x: any shape, finite.
      compression_ratio: most encoded bytes over float32 bytes, in (0, 1].
      block_size: numbers that share a scale.
      max_error: the relative error that is still an answer.

    Raises ValueError for numbers that are not finite, and for a ratio that cannot be reached within `max_error`, with
    what each method would take or err.
    """
    x = np.asarray(x, np.float32)
    if not 0 < compression_ratio <= 1:
        raise ValueError(f"compression_ratio must be over 0 and at most 1, got {compression_ratio}")
    if block_size < 1:
        raise ValueError(f"block_size must be at least 1, got {block_size}")
    if not np.isfinite(x).all():
        raise ValueError(f"x must be finite, got NaN or infinity among {x.size} numbers")
    budget = 4 * x.size * compression_ratio
    found = [_measured(_encode_blocks(x, block_size), None, x)]
    if x.ndim >= 2 and min(_matrix(x).shape) <= _MOST_SVD and x.size:
        found += _low_rank(_matrix(x), x, block_size, budget)
    fitting = [encoded for encoded in found if encoded.nbytes <= budget]
    best = min(fitting, key=lambda e: e.relative_error * (_WORTHWHILE if e.low_rank is None else 1.0), default=None)
    if best is None or best.relative_error >= max_error:
        tried = "; ".join(
            f"{e.method} takes {e.compression_ratio:.3f} with relative error {e.relative_error:.3g}" for e in found
        )
        raise ValueError(
            f"compression_ratio {compression_ratio} cannot be reached with an error below {max_error} for "
            f"float32{list(x.shape)} in blocks of {block_size}: {tried}"
        )
    return best


def decode(encoded: Encoded) -> Float32[Array, "..."]:
    """The float32 array that was encoded, up to its `relative_error`."""
    value = jnp.zeros(encoded.shape, jnp.float32) if encoded.blocks is None else _decode_blocks(encoded.blocks)
    if encoded.low_rank is None:
        return value
    left, right = map(_decode_blocks, encoded.low_rank)
    return value + jnp.matmul(left, right, precision="highest").reshape(encoded.shape)


def relative_error(decoded: np.ndarray, x: np.ndarray) -> float:
    """‖decoded − x‖ / ‖x‖ in float64; 0 where both are zero, infinity where only x is."""
    wide = x.astype(np.float64)
    off, norm = float(np.linalg.norm(decoded.astype(np.float64) - wide)), float(np.linalg.norm(wide))
    return off / norm if norm else (0.0 if off == 0 else math.inf)


def _matrix(x: np.ndarray) -> np.ndarray:
    return x.reshape(-1, x.shape[-1])


def _measured(blocks: BlockArray | None, low_rank: tuple[BlockArray, BlockArray] | None, x: np.ndarray) -> Encoded:
    unmeasured = Encoded(blocks, low_rank, x.shape, 0.0)
    return dataclasses.replace(unmeasured, relative_error=relative_error(np.asarray(decode(unmeasured)), x))


def _low_rank(matrix: np.ndarray, x: np.ndarray, block_size: int, budget: float) -> list[Encoded]:
    """The two encodings with the largest ranks that the budget has room for; fewer where there is none."""
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    rows, columns = matrix.shape

    def factors(rank: int) -> tuple[BlockArray, BlockArray]:
        root = np.sqrt(values[:rank])
        # Blocks lie within a row of each: a direction's numbers are alike in size.
        return _encode_blocks((left[:, :rank] * root), block_size), _encode_blocks(
            root[:, None] * right[:rank], block_size
        )

    def bytes_of(rank: int) -> int:
        return sum(-(-side * rank // block_size) * (block_size + 4) for side in (rows, columns))

    residual_bytes = -(-matrix.size // block_size) * (block_size + 4)
    found = []
    for with_residual in (False, True):
        room = budget - (residual_bytes if with_residual else 0)
        ranks = [rank for rank in range(1, len(values) + 1) if bytes_of(rank) <= room]
        if not ranks:
            continue
        pair = factors(ranks[-1])
        if not with_residual:
            found.append(_measured(None, pair, x))
            continue
        product = np.asarray(decode(Encoded(None, pair, x.shape, 0.0)))
        found.append(_measured(_encode_blocks(x - product, block_size), pair, x))
    return found
