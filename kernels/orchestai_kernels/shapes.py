"""Named shapes: calls of an op that its tests lower, that tuning measures, and that benchmarks report."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class NamedShape:
    """A call without its numbers. Arrays are `jax.ShapeDtypeStruct`s, in pytrees too; all else is what it is."""

    args: tuple[Any, ...]
    """Positional arguments."""
    kwargs: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Keyword arguments."""
    gradient: bool = False
    """Whether forward and backward are measured together: shapes of training."""
    platforms: tuple[str, ...] = ("cpu", "gpu", "tpu")
    """Where it is of a size to measure."""


@dataclasses.dataclass(frozen=True)
class TransformerSize:
    """The sizes of a transformer that decide its ops' shapes. Raises ValueError for one below 1."""

    hidden: int
    """Width of the residual stream."""
    feed_forward: int
    """Width between up and down."""
    heads: int
    """Query heads."""
    kv_heads: int
    """Key and value heads; divides `heads`."""
    head_dim: int
    """Width of a head."""
    positions: int
    """Longest sequence."""
    activation: str = "relu2"
    """Of the feed-forward."""
    ternary: bool = False
    """Whether projections are ternary."""

    def __post_init__(self) -> None:
        for field in ("hidden", "feed_forward", "heads", "kv_heads", "head_dim", "positions"):
            if getattr(self, field) < 1:
                raise ValueError(f"{field} must be at least 1, got {getattr(self, field)}")
        if self.heads % self.kv_heads:
            raise ValueError(f"kv_heads must divide heads: {self.kv_heads} does not divide {self.heads}")
