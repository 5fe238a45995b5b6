"""Transformer blocks: BERT's post-norm encoder block and a pre-norm decoder block with cross-attention."""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from orchestai_jax.nn.attention import MultiHeadAttention
from orchestai_jax.nn.feed_forward import FeedForward


class EncoderBlock(nnx.Module):
    """Self-attention and feed-forward, each followed by residual and layer norm (Devlin et al. 2019)."""

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        intermediate_size: int,
        *,
        dropout: float = 0.0,
        epsilon: float = 1e-12,
        rngs: nnx.Rngs,
    ):
        self.attention = MultiHeadAttention(hidden_size, num_heads, rngs=rngs)
        self.attention_norm = nnx.LayerNorm(hidden_size, epsilon=epsilon, rngs=rngs)
        self.feed_forward = FeedForward(hidden_size, intermediate_size, rngs=rngs)
        self.feed_forward_norm = nnx.LayerNorm(hidden_size, epsilon=epsilon, rngs=rngs)
        self.dropout = nnx.Dropout(dropout)

    def __call__(
        self, x: Float[Array, "batch n hidden"], mask: Bool[Array, "batch n"], *, rngs: nnx.Rngs | None = None
    ) -> Float[Array, "batch n hidden"]:
        """Apply the block; dropout acts only when `rngs` is given."""
        drop = _dropper(self.dropout, rngs)
        x = self.attention_norm(x + drop(self.attention(x, x, mask[:, None, :])))
        return self.feed_forward_norm(x + drop(self.feed_forward(x)))


class DecoderBlock(nnx.Module):
    """Causal self-attention, cross-attention, feed-forward, each behind a layer norm and added to its input."""

    def __init__(
        self, hidden_size: int, num_heads: int, intermediate_size: int, *, dropout: float = 0.0, rngs: nnx.Rngs
    ):
        self.self_attention = MultiHeadAttention(hidden_size, num_heads, rngs=rngs)
        self.self_norm = nnx.LayerNorm(hidden_size, rngs=rngs)
        self.cross_attention = MultiHeadAttention(hidden_size, num_heads, rngs=rngs)
        self.cross_norm = nnx.LayerNorm(hidden_size, rngs=rngs)
        self.feed_forward = FeedForward(hidden_size, intermediate_size, rngs=rngs)
        self.feed_forward_norm = nnx.LayerNorm(hidden_size, rngs=rngs)
        self.dropout = nnx.Dropout(dropout)

    def __call__(
        self,
        x: Float[Array, "batch q hidden"],
        context: Float[Array, "batch k hidden"],
        context_mask: Bool[Array, "batch k"],
        *,
        rngs: nnx.Rngs | None = None,
    ) -> Float[Array, "batch q hidden"]:
        """Apply the block to a whole sequence (teacher forcing)."""
        positions = jnp.arange(x.shape[1])
        causal = positions[None, :, None] >= positions[None, None, :]  # [1, q, q]
        normed = self.self_norm(x)
        keys, values = self.self_attention.keys_values(normed)
        cross = self.cross_attention.keys_values(context)
        return self._mix(x, normed, keys, values, causal, *cross, context_mask, rngs)

    def step(
        self,
        x: Float[Array, "batch 1 hidden"],
        position: Array,
        cache: tuple[Array, Array],
        cross: tuple[Array, Array],
        context_mask: Bool[Array, "batch k"],
    ) -> tuple[Float[Array, "batch 1 hidden"], tuple[Array, Array]]:
        """One position of decoding: `cache` holds [batch, positions, heads, head_dim] keys and values before it."""
        normed = self.self_norm(x)
        key, value = self.self_attention.keys_values(normed)
        keys = cache[0].at[:, position].set(key[:, 0])
        values = cache[1].at[:, position].set(value[:, 0])
        seen = (jnp.arange(keys.shape[1]) <= position)[None, None, :]
        return self._mix(x, normed, keys, values, seen, *cross, context_mask, None), (keys, values)

    def _mix(self, x, normed, keys, values, self_mask, cross_keys, cross_values, context_mask, rngs):
        drop = _dropper(self.dropout, rngs)
        x = x + drop(self.self_attention.attend(normed, keys, values, self_mask))
        attended = self.cross_attention.attend(self.cross_norm(x), cross_keys, cross_values, context_mask[:, None, :])
        x = x + drop(attended)
        return x + drop(self.feed_forward(self.feed_forward_norm(x)))


def _dropper(dropout: nnx.Dropout, rngs: nnx.Rngs | None):
    if rngs is None:
        return lambda x: x
    return lambda x: dropout(x, deterministic=False, rngs=rngs)
