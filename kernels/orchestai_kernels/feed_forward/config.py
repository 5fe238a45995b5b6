"""Tile sizes of the fused kernels: what can be set, a first guess, and what tuning tries."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from orchestai_kernels.dispatch import bucket


def _check(tiles: Any, least: int) -> None:
    for field in dataclasses.fields(tiles):
        value = getattr(tiles, field.name)
        if field.name.startswith("block") and (value < least or value & (value - 1)):
            raise ValueError(f"{field.name} must be a power of two of at least {least}, got {value}")
        if value < 1:
            raise ValueError(f"{field.name} must be at least 1, got {value}")


@dataclasses.dataclass(frozen=True)
class GpuTiles:
    """Tiles of the Triton kernels. Raises ValueError for blocks that are no power of two of at least 16."""

    block_tokens: int = 64
    """Tokens of a program."""
    block_features: int = 64
    """Features (rows of gate and up) of a program."""
    block_hidden: int = 64
    """Columns of gate and up of a step."""
    num_warps: int = 4
    """Warps of a program."""
    num_stages: int = 3
    """Steps loaded ahead."""

    def __post_init__(self) -> None:
        _check(self, 16)


@dataclasses.dataclass(frozen=True)
class TpuTiles:
    """Tiles of the TPU kernels. Raises ValueError for blocks that are no power of two of at least 128."""

    block_tokens: int = 256
    """Tokens of a step."""
    block_features: int = 512
    """Features of a step."""
    block_hidden: int = 512
    """Columns of gate and up of a step."""

    def __post_init__(self) -> None:
        _check(self, 128)


def gpu_heuristic(x: Any, *args: Any, **options: Any) -> GpuTiles:
    """The defaults, with fewer tokens where there are fewer, and smaller steps for float32."""
    tokens = max(16, min(64, bucket(x.shape[0])))
    return GpuTiles(block_tokens=tokens, block_hidden=32 if x.dtype.itemsize > 2 else 64)


def gpu_candidates(x: Any, *args: Any, **options: Any) -> Sequence[GpuTiles]:
    """Tiles of up to 128 tokens and 128 features, no more tokens than there are."""
    tried = [
        GpuTiles(tokens, features, hidden, warps, stages)
        for tokens in (16, 32, 64, 128)
        for features in (32, 64, 128)
        for hidden in (32, 64)
        for warps in (4, 8)
        for stages in (2, 3, 4)
        if tokens <= max(16, bucket(x.shape[0]))
    ]
    return tuple(dict.fromkeys([gpu_heuristic(x), *tried]))


def tpu_heuristic(x: Any, *args: Any, **options: Any) -> TpuTiles:
    """The defaults, with fewer tokens where there are fewer."""
    return TpuTiles(block_tokens=max(128, min(256, bucket(x.shape[0]))))


def tpu_candidates(x: Any, *args: Any, **options: Any) -> Sequence[TpuTiles]:
    """Tiles of 128 to 512 tokens and of 256 to 1024 features and columns."""
    tried = [
        TpuTiles(tokens, features, hidden)
        for tokens in (128, 256, 512)
        for features in (256, 512, 1024)
        for hidden in (256, 512, 1024)
        if tokens <= max(128, bucket(x.shape[0]))
    ]
    return tuple(dict.fromkeys([tpu_heuristic(x), *tried]))
