"""How the kernels for GPUs cut arrays with a head axis into blocks, a head of a batch element at a time."""

from __future__ import annotations

from typing import Any

import jax
from jax.experimental import pallas as pl


class HeadBlocks:
    """Block specs over arrays [batch, length, heads, dim] and [batch, length, heads]. The grid's first axis walks over
    blocks of the length, its last is batch × heads.
    """

    def __init__(self, heads: int):
        self.heads = heads

    def of(self, p: Any) -> tuple[Any, Any]:
        """(batch element, head) of a program."""
        return jax.lax.div(p, self.heads), jax.lax.rem(p, self.heads)

    def block(self, length: int, dim: int | None = None) -> pl.BlockSpec:
        """A block of so many by the grid's first axis; without `dim` of an array [batch, length, heads]."""
        return self._spec(length, dim, lambda g: g[0])

    def whole(self, length: int, dim: int | None = None) -> pl.BlockSpec:
        """All of the length's axis."""
        return self._spec(length, dim, lambda g: 0)

    def _spec(self, length: int, dim: int | None, at: Any) -> pl.BlockSpec:
        if dim is None:
            return pl.BlockSpec((None, length, None), lambda *g: (self.of(g[-1])[0], at(g), self.of(g[-1])[1]))
        return pl.BlockSpec((None, length, None, dim), lambda *g: (self.of(g[-1])[0], at(g), self.of(g[-1])[1], 0))
