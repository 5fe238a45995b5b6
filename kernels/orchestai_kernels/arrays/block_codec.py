"""Arrays of any shape in 8 bits a number, with one scale a block: optimizer moments, embeddings, checkpoints.

Blocks with a scale of their own and a map that is finer near zero are those of 8-bit optimizers (Dettmers et al. 2022,
arXiv:2110.02861, section 2). Their map is a table of 256 numbers; here it is a power, code = x^(1/root), which needs no
look-up, and rounding can be random, so that a moving average goes on moving by less than a step.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int, UInt32

from orchestai_kernels.arrays._concrete import expect

Root = Literal[1, 2, 4]

ROOTS: tuple[Root, ...] = (1, 2, 4)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class BlockArray:
    """Numbers scale · sign(c) · (|c| / most)^root in row-major order, in equal blocks, the last filled with zeros.

    A pytree of two arrays. Invariants (`validate` checks them): codes are int8 in -127 .. 127 (most = 127), or uint8
    for numbers that are not negative (most = 255); scale is float32 [blocks]; blocks is the least number that holds
    the shape.
    """

    codes: Int[Array, "blocks block"]
    """The integers."""
    scale: Float32[Array, "blocks"]
    """The largest magnitude of each block."""
    shape: tuple[int, ...] = dataclasses.field(metadata={"static": True})
    """Of the array that they stand for."""
    root: Root = dataclasses.field(default=1, metadata={"static": True})
    """1: even steps; 2, 4: steps that shrink towards zero."""

    @property
    def block(self) -> int:
        """Numbers a block."""
        return self.codes.shape[1]

    @property
    def nbytes(self) -> int:
        """Bytes that codes and scales take."""
        return self.codes.nbytes + self.scale.nbytes

    def validate(self) -> BlockArray:
        """Return itself; raise ValueError that names both values where an invariant does not hold."""
        if self.codes.dtype not in (np.int8, np.uint8):
            raise ValueError(f"codes' dtype must be int8 or uint8, got {self.codes.dtype}")
        if self.root not in ROOTS:
            raise ValueError(f"root must be one of {ROOTS}, got {self.root}")
        expect("scale's dtype", self.scale.dtype, np.dtype(np.float32))
        blocks = -(-math.prod(self.shape) // self.block)
        expect("codes' shape", tuple(self.codes.shape), (blocks, self.block))
        expect("scale's shape", tuple(self.scale.shape), (blocks,))
        return self


def encoded_ratio(block: int) -> float:
    """Encoded bytes over those of float32, for arrays of whole blocks: 1/4 for the codes, 1/block for the scales."""
    return 0.25 + 1 / block


def encode_blocks(
    x: Float[Array | np.ndarray, "..."],
    block: int,
    *,
    root: Root = 1,
    signed: bool = True,
    noise: UInt32[Array, ""] | None = None,
) -> BlockArray:
    """Encode in blocks of `block` numbers.

    Args:
      x: any shape.
      block: numbers that share a scale, at least 1.
      root: see BlockArray. The error of a number near the block's largest is at most root / (2 · most) of it, so root 1
        has the least error over an array, and root 4 keeps numbers down to most⁻⁴ of the block's largest.
      signed: False takes one more bit for numbers that are not negative (a negative one counts as zero); of these none
        but zero becomes zero, so that dividing by them is safe.
      noise: a seed for rounding at random, up or down with the odds that keep the mean; None rounds to the nearest. The
        same seed, numbers and places give the same codes.

    A block with a NaN or an infinity reads as NaN throughout. Raises ValueError for `block` below 1.
    """
    if block < 1:
        raise ValueError(f"block must be at least 1, got {block}")
    x = jnp.asarray(x, jnp.float32)
    count = x.size
    blocks = -(-count // block)
    split = jnp.pad(x.reshape(-1), (0, blocks * block - count)).reshape(blocks, block)
    if not signed:
        split = jnp.where(split < 0, 0.0, split)
    most = 127.0 if signed else 255.0
    scale = jnp.max(jnp.abs(split), axis=-1, initial=0.0)
    share = jnp.abs(split) / scale[:, None]  # NaN where the scale is 0 or not finite
    share = jnp.where(jnp.isfinite(share), share, 0.0)
    position = most * _rooted(share, root)
    if noise is None:
        steps = jnp.round(position)
    else:
        below = jnp.clip(jnp.floor(position), 0.0, most - 1)
        lower, upper = _powered(below / most, root), _powered((below + 1) / most, root)
        odds = (share - lower) / (upper - lower)
        steps = below + (_uniform(noise, split) < odds)
    steps = jnp.clip(steps, 0.0, most)
    if not signed:
        # By the number and not by its share, which is flushed to zero where the block's largest is 1e38 times as large.
        kept = (split > 0) & jnp.isfinite(scale)[:, None]
        return BlockArray(jnp.where(kept, jnp.maximum(steps, 1.0), 0.0).astype(jnp.uint8), scale, x.shape, root)
    return BlockArray(jnp.where(split < 0, -steps, steps).astype(jnp.int8), scale, x.shape, root)


def decode_blocks(array: BlockArray) -> Float32[Array, "..."]:
    """The float32 numbers that the array stands for."""
    most = 127.0 if array.codes.dtype == jnp.int8 else 255.0
    steps = array.codes.astype(jnp.float32) / most
    values = jnp.sign(steps) * _powered(jnp.abs(steps), array.root) * array.scale[:, None]
    return values.reshape(-1)[: math.prod(array.shape)].reshape(array.shape)


def _rooted(x: Array, root: Root) -> Array:
    for _ in range(root.bit_length() - 1):
        x = jnp.sqrt(x)
    return x


def _powered(x: Array, root: Root) -> Array:
    for _ in range(root.bit_length() - 1):
        x = x * x
    return x


def _uniform(seed: Array, x: Float32[Array, "blocks block"]) -> Float32[Array, "blocks block"]:
    """Numbers in [0, 1) by place, value and seed: a 32-bit mix (lowbias32, C. Wellons 2018), cheaper than threefry."""
    place = jnp.arange(x.size, dtype=jnp.uint32).reshape(x.shape)
    h = jax.lax.bitcast_convert_type(x, jnp.uint32) ^ (place * jnp.uint32(0x9E3779B1) + jnp.asarray(seed, jnp.uint32))
    h = (h ^ (h >> 16)) * jnp.uint32(0x7FEB352D)
    h = (h ^ (h >> 15)) * jnp.uint32(0x846CA68B)
    h = h ^ (h >> 16)
    return (h >> 8).astype(jnp.float32) * jnp.float32(2**-24)
