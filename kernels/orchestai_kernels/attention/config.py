"""Tile sizes of the flash kernels: what can be set, a first guess, and what tuning tries."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from orchestai_kernels.dispatch import bucket

FEW_ROWS = 64
"""Up to so many rows (queries × query heads of a key head) a GPU is filled by splitting the keys."""


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

    block_rows: int = 128
    """Forward: rows (queries × query heads of a key head) of a program."""
    block_keys: int = 64
    """Forward: keys of a step."""
    num_warps: int = 4
    """Forward: warps of a program."""
    num_stages: int = 3
    """Forward: steps loaded ahead."""
    splits: int = 1
    """Forward: parts that the keys are split into, each of its own programs; for few rows and many keys."""
    block_rows_dq: int = 64
    """Backward towards queries: rows of a program."""
    block_keys_dq: int = 64
    """Backward towards queries: keys of a step."""
    block_rows_dkv: int = 64
    """Backward towards keys and values: rows of a step."""
    block_keys_dkv: int = 64
    """Backward towards keys and values: keys of a program."""
    num_warps_backward: int = 4
    """Backward: warps of a program."""
    num_stages_backward: int = 2
    """Backward: steps loaded ahead."""

    def __post_init__(self) -> None:
        _check(self, 16)


@dataclasses.dataclass(frozen=True)
class TpuTiles:
    """Tiles of the TPU kernels. Raises ValueError for blocks that are no power of two of at least 128."""

    block_rows: int = 256
    """Forward: rows of a step."""
    block_keys: int = 512
    """Forward: keys of a step."""
    block_rows_backward: int = 256
    """Backward: rows of a step."""
    block_keys_backward: int = 256
    """Backward: keys of a step."""

    def __post_init__(self) -> None:
        _check(self, 128)


def _sizes(q: Any, k: Any) -> tuple[int, int, int, int]:
    """(rows, keys, head_dim, programs before splitting rows)."""
    return q.shape[1] * q.shape[2] // max(k.shape[2], 1), k.shape[1], q.shape[3], q.shape[0] * k.shape[2]


def gpu_heuristic(q: Any, k: Any, v: Any, masks: Any, *, scale: float) -> GpuTiles:
    """Large tiles where there are rows for them; for decoding, small ones and as many splits as fill a GPU."""
    rows, keys, head_dim, programs = _sizes(q, k)
    wide = head_dim > 64 or q.dtype.itemsize > 2
    if rows <= FEW_ROWS:
        splits = min(bucket(max(1, 132 // max(programs, 1))), bucket(max(1, keys // 256)))
        return GpuTiles(block_rows=max(16, bucket(rows)), block_keys=64, splits=splits)
    tiles = GpuTiles(num_warps=8 if head_dim > 64 else 4, num_warps_backward=8 if head_dim > 64 else 4)
    if q.dtype.itemsize > 2:  # twice the shared memory a tile
        small = {"block_rows_dq": 32, "block_keys_dq": 32, "block_rows_dkv": 32, "block_keys_dkv": 32}
        return dataclasses.replace(tiles, block_rows=64, block_keys=32, num_stages=2, **small)
    return tiles if wide else dataclasses.replace(tiles, block_keys=128)


def gpu_candidates(q: Any, k: Any, v: Any, masks: Any, *, scale: float) -> Sequence[GpuTiles]:
    """Around the first guess: tiles, warps and stages, forward and backward varied apart; splits for decoding."""
    guess = gpu_heuristic(q, k, v, masks, scale=scale)
    if _sizes(q, k)[0] <= FEW_ROWS:
        decoding = [
            dataclasses.replace(guess, block_keys=keys, splits=splits, num_warps=warps)
            for keys in (32, 64, 128)
            for splits in sorted({1, max(1, guess.splits // 2), guess.splits, guess.splits * 2})
            for warps in (2, 4)
        ]
        return tuple(dict.fromkeys([guess, *decoding]))
    forward = [
        dataclasses.replace(guess, block_rows=rows, block_keys=keys, num_warps=warps, num_stages=stages)
        for rows, keys in ((64, 32), (64, 64), (128, 32), (128, 64), (128, 128))
        for warps in (4, 8)
        for stages in (2, 3, 4)
    ]
    backward = [
        dataclasses.replace(
            guess,
            block_rows_dq=dq[0],
            block_keys_dq=dq[1],
            block_rows_dkv=dq[1],
            block_keys_dkv=dq[0],
            num_warps_backward=warps,
            num_stages_backward=stages,
        )
        for dq in ((32, 32), (64, 32), (64, 64), (128, 32), (128, 64))
        for warps in (4, 8)
        for stages in (1, 2, 3)
    ]
    return tuple(dict.fromkeys([guess, *forward, *backward]))


def tpu_heuristic(q: Any, k: Any, v: Any, masks: Any, *, scale: float) -> TpuTiles:
    """The defaults, less where there is less."""
    rows, keys, _, _ = _sizes(q, k)
    fit = {"block_rows": rows, "block_rows_backward": rows, "block_keys": keys, "block_keys_backward": keys}
    return TpuTiles(**{name: max(128, min(getattr(TpuTiles, name), bucket(size))) for name, size in fit.items()})


def tpu_candidates(q: Any, k: Any, v: Any, masks: Any, *, scale: float) -> Sequence[TpuTiles]:
    """Tiles of 128 to 1024, no larger than the call."""
    rows, keys, _, _ = _sizes(q, k)
    fitting = [
        TpuTiles(r, c, min(r, 512), min(c, 512))
        for r in (128, 256, 512, 1024)
        for c in (128, 256, 512, 1024)
        if r <= max(128, bucket(rows)) and c <= max(128, bucket(keys))
    ]
    return tuple(dict.fromkeys([tpu_heuristic(q, k, v, masks, scale=scale), *fitting]))
