"""T5's encoder block and its relative positions (Raffel et al. 2020; gated as in T5 1.1, Shazeer 2020)."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from orchestai_jax.nn.norms import RMSNorm


class T5EncoderBlock(nnx.Module):
    """Self-attention without scale and bias, then feed-forward, each behind a root-mean-square norm and added.

    `is_last`: the stack's closing norm is applied as well, so that layers can be used apart from their stack.
    """

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        head_size: int,
        intermediate_size: int,
        *,
        gated: bool,
        is_last: bool,
        dropout: float = 0.0,
        epsilon: float = 1e-6,
        rngs: nnx.Rngs,
    ):
        def linear(into: int, out: int) -> nnx.Linear:
            return nnx.Linear(into, out, use_bias=False, rngs=rngs)

        inner = num_heads * head_size
        self.num_heads = num_heads
        self.query, self.key, self.value = (linear(hidden_size, inner) for _ in range(3))
        self.out = linear(inner, hidden_size)
        self.attention_norm = RMSNorm(hidden_size, epsilon=epsilon, rngs=rngs)
        self.gate = linear(hidden_size, intermediate_size) if gated else None
        self.up = linear(hidden_size, intermediate_size)
        self.down = linear(intermediate_size, hidden_size)
        self.feed_forward_norm = RMSNorm(hidden_size, epsilon=epsilon, rngs=rngs)
        self.final_norm = RMSNorm(hidden_size, epsilon=epsilon, rngs=rngs) if is_last else None
        self.dropout = nnx.Dropout(dropout)

    def __call__(
        self,
        x: Float[Array, "batch n hidden"],
        mask: Bool[Array, "batch n"],
        bias: Float[Array, "heads n n"],
        *,
        rngs: nnx.Rngs | None = None,
    ) -> Float[Array, "batch n hidden"]:
        """Apply the block; `bias` is added to the scores, dropout acts only when `rngs` is given."""

        def drop(y: Array) -> Array:
            return y if rngs is None else self.dropout(y, deterministic=False, rngs=rngs)

        x = x + drop(self._attend(self.attention_norm(x), mask, bias))
        normed = self.feed_forward_norm(x)
        inner = self.up(normed)
        inner = jax.nn.relu(inner) if self.gate is None else jax.nn.gelu(self.gate(normed), approximate=True) * inner
        x = x + drop(self.down(drop(inner)))
        return x if self.final_norm is None else drop(self.final_norm(x))

    def _attend(self, x: Array, mask: Array, bias: Array) -> Array:
        query, key, value = (
            module(x).reshape(*x.shape[:2], self.num_heads, -1) for module in (self.query, self.key, self.value)
        )
        scores = jnp.einsum("bqhd,bkhd->bhqk", query, key) + bias
        scores = jnp.where(mask[:, None, None, :], scores, jnp.finfo(scores.dtype).min)
        mixed = jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores, axis=-1), value)
        return self.out(mixed.reshape(*x.shape[:2], -1))


def relative_buckets(length: int, num_buckets: int, max_distance: int) -> Int[np.ndarray, "n n"]:
    """The bucket of the distance from each query (row) to each key: the upper half of the buckets for keys that come
    later; in either half one for each small distance, the rest in equal steps of its logarithm up to `max_distance`."""
    distance = np.arange(length)[None, :] - np.arange(length)[:, None]
    half = num_buckets // 2
    exact = half // 2
    size = np.abs(distance)
    steps = np.log(np.maximum(size, 1).astype(np.float32) / exact) / np.float32(math.log(max_distance / exact))
    far = np.minimum(exact + (steps * (half - exact)).astype(np.int32), half - 1)
    return np.where(distance > 0, half, 0) + np.where(size < exact, size, far)
