"""Named shapes: calls of an op that its tests lower, that tuning measures, and that benchmarks report."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from orchestai_kernels.dispatch import bucket


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
    sub_norms: bool = True
    """Whether there is a norm before the projection down."""
    dtype: str = "float32"
    """That activations are computed in."""
    training: tuple[int, int] | None = None
    """(sequences, tokens) of a training step; None where the model is only served."""

    def __post_init__(self) -> None:
        for field in ("hidden", "feed_forward", "heads", "kv_heads", "head_dim", "positions"):
            if getattr(self, field) < 1:
                raise ValueError(f"{field} must be at least 1, got {getattr(self, field)}")
        if self.heads % self.kv_heads:
            raise ValueError(f"kv_heads must divide heads: {self.kv_heads} does not divide {self.heads}")
        if self.training is not None and min(self.training) < 1:
            raise ValueError(f"training must be at least one sequence of one token, got {self.training}")

    @property
    def prompt_lengths(self) -> tuple[int, ...]:
        """Lengths that prompts are padded to, powers of two: that of 128 tokens and the longest."""
        longest = max(16, bucket(self.positions))
        return tuple(sorted({min(128, longest), longest}))
