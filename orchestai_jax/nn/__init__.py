"""Layers: Flax NNX modules, built `(sizes, *, rngs)` and used as pure functions of (parameters, inputs, key)."""

from orchestai_jax.nn.attention import MultiHeadAttention
from orchestai_jax.nn.feed_forward import FeedForward
from orchestai_jax.nn.transformer import DecoderBlock, EncoderBlock

__all__ = [
    "DecoderBlock",
    "EncoderBlock",
    "FeedForward",
    "MultiHeadAttention",
]
