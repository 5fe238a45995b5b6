"""Choosing the next token from logits."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Int32, UInt32

NOT_FINITE = -1
"""What is chosen of logits that are NaN, infinite, or all -infinity."""


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How the next token is chosen. Raises ValueError for values out of range."""

    temperature: float = 0.0
    """What logits are divided by; 0 takes the likeliest token."""
    top_k: int | None = None
    """Only so many of the likeliest tokens can be drawn (None = all)."""
    top_p: float = 1.0
    """Only the likeliest tokens that together have this probability can be drawn (1 = all)."""
    seed: int = 0
    """Of all draws: step t draws with (seed, t), whatever else is in the batch."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise ValueError(f"temperature must be 0 or more, got {self.temperature}")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k must be at least 1, got {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be over 0 and at most 1, got {self.top_p}")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed must be from 0 to 2^32 - 1, got {self.seed}")

    @property
    def greedy(self) -> bool:
        """Whether nothing is drawn."""
        return self.temperature == 0

    @property
    def filtered(self) -> bool:
        """Whether some tokens may not be drawn."""
        return not self.greedy and (self.top_k is not None or self.top_p < 1)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Draws:
    """The numbers of each row's `Sampling` as arrays, so that other values compile nothing anew."""

    temperature: Float[Array, "batch"]
    top_k: Int32[Array, "batch"]
    top_p: Float[Array, "batch"]
    seed: UInt32[Array, "batch"]
    greedy: bool = dataclasses.field(metadata={"static": True})
    """Whether no row draws."""
    filtered: bool = dataclasses.field(metadata={"static": True})
    """Whether there is a row that may not draw every token."""

    @classmethod
    def of(cls, samplings: Sequence[Sampling], vocab_size: int) -> Draws:
        """One sampling a row, as arrays; no top_k is the whole vocabulary."""
        return cls(
            jnp.asarray([sampling.temperature for sampling in samplings], jnp.float32),
            jnp.asarray([min(sampling.top_k or vocab_size, vocab_size) for sampling in samplings], jnp.int32),
            jnp.asarray([sampling.top_p for sampling in samplings], jnp.float32),
            jnp.asarray([sampling.seed for sampling in samplings], jnp.uint32),
            all(sampling.greedy for sampling in samplings),
            any(sampling.filtered for sampling in samplings),
        )


def choose_tokens(
    logits: Float[Array, "batch vocab"], draws: Draws, step: Int[Array, ""] | int
) -> Int32[Array, "batch"]:
    """The next token of each row. `step` counts the tokens drawn before; a row's seed and step decide its draw.

    NOT_FINITE for a row whose largest logit is no finite number.
    """
    # Not of the maximum alone: on CPUs XLA loses a NaN in the maximum of a large array.
    sound = jnp.isfinite(jnp.max(jnp.where(jnp.isnan(logits), jnp.inf, logits), axis=-1))
    return jnp.where(sound, _chosen(logits, draws, step), NOT_FINITE)


def _chosen(logits: Array, draws: Draws, step: Int[Array, ""] | int) -> Array:
    likeliest = jnp.argmax(logits, axis=-1).astype(jnp.int32)
    if draws.greedy:
        return likeliest
    warm = draws.temperature > 0
    scaled = logits / jnp.where(warm, draws.temperature, 1)[:, None]
    if draws.filtered:
        scaled = jnp.where(allowed_tokens(scaled, draws.top_k, draws.top_p), scaled, -jnp.inf)
    keys = jax.vmap(lambda seed: jax.random.fold_in(jax.random.key(seed), step))(draws.seed)
    return jnp.where(warm, jax.vmap(jax.random.categorical)(keys, scaled), likeliest).astype(jnp.int32)


def allowed_tokens(
    logits: Float[Array, "batch vocab"], top_k: Int[Array, "batch"], top_p: Float[Array, "batch"]
) -> Array:
    """Boolean [batch, vocab]: among a row's `top_k` likeliest, and in the smallest set of them that reaches `top_p`.

    The likeliest token is always allowed. Of equal logits the one with the lower number comes first. top_p counts the
    probabilities that are left after top_k (as transformers does).
    """
    order = jnp.argsort(-logits, axis=-1, stable=True)
    ranked = jnp.take_along_axis(logits, order, axis=-1)
    among_first = jnp.arange(logits.shape[-1])[None] < top_k[:, None]
    probabilities = jax.nn.softmax(jnp.where(among_first, ranked, -jnp.inf), axis=-1)
    before = jnp.cumsum(probabilities, axis=-1) - probabilities
    # With top_p 1, rounding of the sum must not cut the tail off.
    kept = among_first & ((before < top_p[:, None]) | (top_p[:, None] >= 1))
    kept = kept.at[:, 0].set(True)
    rows = jnp.arange(logits.shape[0])[:, None]
    return jnp.zeros(logits.shape, bool).at[rows, order].set(kept)
