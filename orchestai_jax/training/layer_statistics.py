"""Norms and histograms of gradients, parameters and updates by layer, computed inside the step at intervals."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

NORMS = "layer_norms"
"""Measurement: float32 [3, groups], norms of gradients, parameters and updates."""
HISTOGRAMS = "layer_histograms"
"""Measurement: int32 [2, groups, bins], magnitudes of gradients and parameters."""
LOWEST_EXPONENT, BINS = -32, 48
"""Bin i counts magnitudes in [2^(i − 32), 2^(i − 31)); the first takes everything smaller too, the last everything
larger, infinity and NaN."""


@dataclasses.dataclass(frozen=True)
class LayerStatistics:
    """Which parameters make a layer, and what is measured of them when.

    A parameter's dotted name is cut after its first number (`encoder.layers.3`), else to what comes before its last
    part, two parts at most (`decomposer.projection`). Where `is_stacked` says so its first axis is the layers' axis,
    and each layer is a group of its own (`layers.0`, `layers.1`, …).
    """

    names: tuple[str, ...]
    """The groups, in the order of the measurements."""
    norms_every: int | None
    """Steps between two measurements of norms (None = never)."""
    histograms_every: int | None
    """Steps between two histograms (None = never)."""
    is_stacked: Callable[[str], bool] = lambda name: False

    @classmethod
    def of(
        cls,
        parameters: Any,
        norms_every: int | None,
        histograms_every: int | None,
        is_stacked: Callable[[str], bool] = lambda name: False,
    ) -> LayerStatistics:
        """For these parameters (arrays, or their abstract form)."""
        names: dict[str, None] = {}
        for name, leaf in _named(parameters):
            names.update(dict.fromkeys(_groups(name, leaf.shape, is_stacked(name))))
        return cls(tuple(names), norms_every, histograms_every, is_stacked)

    @property
    def intervals(self) -> list[int]:
        """Those that are not None: empty where nothing is ever measured."""
        return [every for every in (self.norms_every, self.histograms_every) if every is not None]

    def is_due(self, step: jax.Array) -> jax.Array:
        """bool[]: whether anything is measured at this step (from 1)."""
        return jnp.any(step % jnp.asarray(self.intervals, jnp.int32) == 0)

    def measure(self, step: jax.Array, gradients: Any, parameters: Any, updates: Any) -> dict[str, jax.Array]:
        """The measurements of a step (from 1); zeros between the intervals, which cost nothing.

        The trees are structured alike. Runs inside jit.
        """
        measured: dict[str, jax.Array] = {}
        if self.norms_every is not None:
            measured[NORMS] = _at(
                step,
                self.norms_every,
                lambda: jnp.stack([self.norms(tree) for tree in (gradients, parameters, updates)]),
            )
        if self.histograms_every is not None:
            measured[HISTOGRAMS] = _at(
                step,
                self.histograms_every,
                lambda: jnp.stack([self.histograms(tree) for tree in (gradients, parameters)]),
            )
        return measured

    def norms(self, tree: Any) -> jax.Array:
        """The 2-norm of each group, float32 [groups]."""

        def squares(leaf: jax.Array, stacked: bool) -> jax.Array:
            rows = leaf.astype(jnp.float32).reshape((leaf.shape[0], -1) if stacked else (1, -1))
            return jnp.sum(rows * rows, axis=1)  # [layers or 1]

        return jnp.sqrt(self._summed(tree, squares, jnp.zeros((len(self.names),), jnp.float32)))

    def histograms(self, tree: Any) -> jax.Array:
        """How many elements of each group have which magnitude, int32 [groups, bins]."""

        def counts(leaf: jax.Array, stacked: bool) -> jax.Array:
            rows = leaf.astype(jnp.float32).reshape((leaf.shape[0], -1) if stacked else (1, -1))
            _, exponents = jnp.frexp(rows)  # |x| = m · 2^e, m in [1/2, 1)
            bins = jnp.clip(exponents - 1 - LOWEST_EXPONENT, 0, BINS - 1)
            bins = jnp.where(jnp.isfinite(rows), jnp.where(rows == 0, 0, bins), BINS - 1)
            return jax.vmap(lambda row: jnp.bincount(row, length=BINS))(bins).astype(jnp.int32)

        return self._summed(tree, counts, jnp.zeros((len(self.names), BINS), jnp.int32))

    def _summed(self, tree: Any, of_leaf: Callable[[jax.Array, bool], jax.Array], total: jax.Array) -> jax.Array:
        index = {name: i for i, name in enumerate(self.names)}
        for name, leaf in _named(tree):
            if leaf.size:
                stacked = self.is_stacked(name)
                rows = jnp.asarray([index[group] for group in _groups(name, leaf.shape, stacked)])
                total = total.at[rows].add(of_leaf(leaf, stacked))
        return total


def _at(step: jax.Array, every: int, measure: Callable[[], jax.Array]) -> jax.Array:
    shape = jax.eval_shape(measure)
    return jax.lax.cond(step % every == 0, measure, lambda: jnp.zeros(shape.shape, shape.dtype))


def _named(tree: Any) -> list[tuple[str, Any]]:
    paths = jax.tree_util.tree_flatten_with_path(tree)[0]
    return [(jax.tree_util.keystr(path, simple=True, separator="."), leaf) for path, leaf in paths]


def _groups(name: str, shape: tuple[int, ...], stacked: bool) -> list[str]:
    parts = name.split(".")
    if stacked:
        return [f"{parts[0]}.{i}" for i in range(shape[0])]
    numbers = [i for i, part in enumerate(parts) if part.isdigit()]
    if numbers:
        return [".".join(parts[: numbers[0] + 1])]
    return [".".join(parts[:-1][:2]) or name]


def ratio(values: Mapping[str, float], over: Mapping[str, float]) -> dict[str, float]:
    """Each group's value over another; 0 where that is 0."""
    return {name: value / over[name] if over[name] else 0.0 for name, value in values.items()}
