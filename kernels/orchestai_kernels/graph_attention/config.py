"""What a message-passing kernel is specialised for, and the tiles of the one for GPUs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

from orchestai_kernels.dispatch import bucket

Aggregation = Literal["softmax", "mean", "sum"]


@dataclasses.dataclass(frozen=True)
class GraphTiles:
    """Tiles of the Triton kernels. Raises ValueError for blocks that are no power of two of at least 16."""

    block_targets: int = 64
    """Targets of a tile of edges."""
    block_sources: int = 64
    """Sources of a tile of edges."""
    num_warps: int = 4
    """Warps of a program."""
    num_stages: int = 2
    """Tiles loaded ahead."""

    def __post_init__(self) -> None:
        for name in ("block_targets", "block_sources"):
            block = getattr(self, name)
            if block < 16 or block & (block - 1):
                raise ValueError(f"{name} must be a power of two of at least 16, got {block}")
        if self.num_warps < 1 or self.num_stages < 1:
            raise ValueError(f"num_warps and num_stages must be at least 1, got {self.num_warps} and {self.num_stages}")


@dataclasses.dataclass(frozen=True)
class Static:
    """What a kernel is specialised for."""

    aggregation: Aggregation
    """How messages are weighted."""
    negative_slope: float
    """Of the leaky ReLU on scores."""
    tiles: Any
    """The platform's configuration; None where it has none."""
    interpret: bool
    """Whether to run interpreted."""


def gpu_heuristic(nodes: Any, *args: Any, **options: Any) -> GraphTiles:
    """The defaults, less where there are fewer nodes."""
    block = max(16, min(64, bucket(nodes.shape[1])))
    return GraphTiles(block_targets=block, block_sources=block)


def gpu_candidates(nodes: Any, *args: Any, **options: Any) -> Sequence[GraphTiles]:
    """Square and oblong tiles no larger than the graph."""
    most = max(16, bucket(nodes.shape[1]))
    blocks = [(t, s) for t in (16, 32, 64, 128) for s in (16, 32, 64, 128) if t <= most and s <= most]
    tried = [GraphTiles(t, s, warps, stages) for t, s in blocks for warps in (2, 4, 8) for stages in (1, 2, 3)]
    return tuple(dict.fromkeys([gpu_heuristic(nodes), *tried]))
