"""Tile sizes of the Pallas kernels of `ternary_matmul`: what can be set, a first guess, and what tuning tries."""

from __future__ import annotations

import dataclasses
from typing import Any

from orchestai_kernels.arrays import TernaryArray
from orchestai_kernels.arrays.ternary import ROW_BLOCK
from orchestai_kernels.dispatch import bucket

FEW_TOKENS = 16
"""Up to so many tokens the GPU multiplies without its matrix units, reading the packed weights as they lie."""


@dataclasses.dataclass(frozen=True)
class GpuTiles:
    """Tiles of the Triton kernels. Raises ValueError for sizes that are no power of two, or too small for Triton."""

    quads: int = 128
    """Few tokens: columns / 4 of a step."""
    splits: int = 4
    """Few tokens: parts that the columns are split into, each of its own programs; their sums are added exactly."""
    tokens_at_once: int = 2
    """Few tokens: tokens of a program."""
    block_tokens: int = 64
    """Many tokens: tokens of a program."""
    block_rows: int = 32
    """Many tokens: packed rows of a program, four rows each."""
    block_columns: int = 64
    """Many tokens: columns of a step."""
    num_warps: int = 4
    """Warps of a program."""
    num_stages: int = 3
    """Steps loaded ahead."""

    def __post_init__(self) -> None:
        least = {"block_tokens": 16, "block_rows": 16, "block_columns": 32}
        _check(self, {field.name: least.get(field.name, 1) for field in dataclasses.fields(self)})


@dataclasses.dataclass(frozen=True)
class TpuTiles:
    """Tiles of the TPU kernel. Raises ValueError for sizes that are no power of two, or too small for the TPU."""

    block_tokens: int = 128
    """Tokens of a step; no more than there are, rounded up to 32."""
    block_rows: int = 256
    """Packed rows of a step, four rows each."""
    block_columns: int = 512
    """Columns of a step."""

    def __post_init__(self) -> None:
        _check(self, {"block_tokens": 32, "block_rows": 128, "block_columns": 128})


def gpu_guess(x: Any, weight: TernaryArray, **kwargs: Any) -> GpuTiles:
    """Few tokens: enough programs for a large GPU; many: the usual tiles of its matrix units."""
    tokens = x.shape[0]
    rows, columns = weight.matrix_shape
    programs = max(1, -(-rows // ROW_BLOCK) * -(-tokens // 2))
    splits = min(bucket(-(-1024 // programs)), bucket(max(1, columns // 512)))
    return GpuTiles(splits=splits, block_tokens=min(64, max(16, bucket(tokens))))


def gpu_candidates(x: Any, weight: TernaryArray, **kwargs: Any) -> list[GpuTiles]:
    """Around the first guess."""
    guess = gpu_guess(x, weight)
    if x.shape[0] <= FEW_TOKENS:
        return [
            dataclasses.replace(guess, quads=quads, splits=splits, num_warps=warps)
            for quads in (64, 128, 256)
            for splits in sorted({max(1, guess.splits // 2), guess.splits, guess.splits * 2})
            for warps in (2, 4, 8)
        ]
    return [
        dataclasses.replace(guess, block_tokens=tokens, block_rows=rows, block_columns=columns, num_warps=warps)
        for tokens in (32, 64, 128)
        for rows in (16, 32)
        for columns in (64, 128)
        for warps in (4, 8)
    ]


def tpu_guess(x: Any, weight: TernaryArray, **kwargs: Any) -> TpuTiles:
    """Tiles that fit the vector memory several times over."""
    return TpuTiles()


def tpu_candidates(x: Any, weight: TernaryArray, **kwargs: Any) -> list[TpuTiles]:
    """All of a small grid."""
    return [
        TpuTiles(block_rows=rows, block_columns=columns) for rows in (128, 256, 512) for columns in (256, 512, 1024)
    ]


def _check(tiles: Any, least: dict[str, int]) -> None:
    for name, smallest in least.items():
        value = getattr(tiles, name)
        if value < smallest or (value & (value - 1) and name != "num_stages"):
            raise ValueError(f"{name} must be a power of two of at least {smallest}, got {value}")
