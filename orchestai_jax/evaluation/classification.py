"""Streaming metrics of classification and language: pytrees that are updated inside jit and merge over devices.

All figures of a classification come from one confusion matrix, so that batches and devices add up exactly. (flax.nnx's
metrics are modules that change in place, and have no precision, recall or F1.)
"""

from __future__ import annotations

from typing import Literal, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int

M = TypeVar("M", bound="_Mergeable")
Averaging = Literal["macro", "micro", "weighted"]


class _Mergeable:
    """What accumulators of sums share: merging is adding."""

    def merge(self: M, other: M) -> M:
        """What both have seen."""
        return jax.tree.map(jnp.add, self, other)

    def reduce(self: M, axis_name: str) -> M:
        """What all devices along a mapped axis have seen (inside shard_map or pmap)."""
        return jax.lax.psum(self, axis_name)


@struct.dataclass
class ConfusionMatrix(_Mergeable):
    """Counts [true class, predicted class]; `total` counts what went in."""

    counts: Array  # float32 [classes, classes]: whole numbers, exact up to 2^24 in each cell

    @classmethod
    def empty(cls, num_classes: int) -> ConfusionMatrix:
        """Nothing seen yet."""
        return cls(jnp.zeros((num_classes, num_classes), jnp.float32))

    def update(
        self, labels: Int[Array, "*batch"], predictions: Int[Array, "*batch"], mask: Array | None = None
    ) -> ConfusionMatrix:
        """With a batch of classes taken in; where `mask` is false an entry does not count."""
        classes = self.counts.shape[0]
        weight = jnp.ones(labels.shape, jnp.float32) if mask is None else mask.astype(jnp.float32)
        cells = (labels * classes + predictions).ravel()
        added = jnp.zeros((classes * classes,), jnp.float32).at[cells].add(weight.ravel())
        return ConfusionMatrix(self.counts + added.reshape(classes, classes))

    def accuracy(self) -> float:
        """Share of right predictions; 0 where nothing was seen."""
        counts = np.asarray(self.counts, np.float64)
        return _share(np.trace(counts), counts.sum())

    def precision(self, average: Averaging = "macro") -> float:
        """Right predictions of a class over predictions of it; see `f1` for averages and empty classes."""
        counts = np.asarray(self.counts, np.float64)
        return self._averaged(_shares(np.diag(counts), counts.sum(axis=0)), average)

    def recall(self, average: Averaging = "macro") -> float:
        """Right predictions of a class over its occurrences; see `f1` for averages and empty classes."""
        counts = np.asarray(self.counts, np.float64)
        return self._averaged(_shares(np.diag(counts), counts.sum(axis=1)), average)

    def f1(self, average: Averaging = "macro") -> float:
        """Harmonic mean of precision and recall of each class, averaged as scikit-learn does (`zero_division=0`).

        Args:
          average: `macro` (the mean over classes that occur or are predicted), `micro` (all decisions alike, which is
            the accuracy), `weighted` (by occurrences). A class without predictions or occurrences counts 0 there.
        """
        counts = np.asarray(self.counts, np.float64)
        right, predicted, occurring = np.diag(counts), counts.sum(axis=0), counts.sum(axis=1)
        return self._averaged(_shares(2 * right, predicted + occurring), average)

    def _averaged(self, of_classes: np.ndarray, average: Averaging) -> float:
        counts = np.asarray(self.counts, np.float64)
        occurring = counts.sum(axis=1)
        if average == "micro":
            return self.accuracy()
        if average == "macro":
            present = occurring + counts.sum(axis=0) > 0
            return float(of_classes[present].mean()) if present.any() else 0.0
        if average == "weighted":
            return _share(float((of_classes * occurring).sum()), occurring.sum())
        raise ValueError(f"average is {average!r}; allowed: macro, micro, weighted")


@struct.dataclass
class TopK(_Mergeable):
    """How often the true class is among the k highest scores."""

    hits: Array  # float32 []
    total: Array  # float32 []
    k: int = struct.field(pytree_node=False)

    @classmethod
    def empty(cls, k: int) -> TopK:
        """Nothing seen yet."""
        return cls(jnp.zeros((), jnp.float32), jnp.zeros((), jnp.float32), k)

    def update(
        self, labels: Int[Array, "*batch"], scores: Float[Array, "*batch classes"], mask: Array | None = None
    ) -> TopK:
        """With a batch taken in. Of equal scores those of later classes are taken first, as scikit-learn does."""
        weight = jnp.ones(labels.shape, jnp.float32) if mask is None else mask.astype(jnp.float32)
        own = jnp.take_along_axis(scores, labels[..., None], axis=-1)
        later = jnp.arange(scores.shape[-1]) > labels[..., None]
        before = jnp.sum((scores > own) | ((scores == own) & later), axis=-1)
        hits = jnp.sum(weight * (before < self.k))
        return TopK(self.hits + hits, self.total + jnp.sum(weight), self.k)

    def accuracy(self) -> float:
        """Share of hits; 0 where nothing was seen."""
        return _share(float(self.hits), float(self.total))


@struct.dataclass
class Perplexity(_Mergeable):
    """exp of the mean cross-entropy of tokens, in nats, summed with Kahan's correction against lost bits."""

    loss: Array  # float32 []
    lost: Array  # float32 []: what float32 dropped from `loss`
    total: Array  # float32 []

    @classmethod
    def empty(cls) -> Perplexity:
        """Nothing seen yet."""
        zero = jnp.zeros((), jnp.float32)
        return cls(zero, zero, zero)

    def update(
        self, labels: Int[Array, "*batch"], logits: Float[Array, "*batch vocabulary"], mask: Array | None = None
    ) -> Perplexity:
        """With a batch of tokens taken in, of those where `mask` is not false."""
        weight = jnp.ones(labels.shape, jnp.float32) if mask is None else mask.astype(jnp.float32)
        logp = jax.nn.log_softmax(logits.astype(jnp.float32))
        losses = -jnp.take_along_axis(logp, labels[..., None], axis=-1)[..., 0]
        more = jnp.sum(jnp.where(weight > 0, losses * weight, 0.0)) + self.lost
        loss = self.loss + more
        return Perplexity(loss, more - (loss - self.loss), self.total + jnp.sum(weight))

    def mean_loss(self) -> float:
        """Nats a token; 0 where nothing was seen."""
        return _share(float(self.loss) + float(self.lost), float(self.total))

    def perplexity(self) -> float:
        """exp of the mean loss (infinite where that is over 700 nats); 1 where nothing was seen."""
        with np.errstate(over="ignore"):
            return float(np.exp(np.float64(self.mean_loss())))


def _shares(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.zeros_like(whole), where=whole > 0)


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole else 0.0
