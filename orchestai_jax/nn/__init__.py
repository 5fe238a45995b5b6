"""Layers: Flax NNX modules, built `(sizes, *, rngs)` and used as pure functions of (parameters, inputs, key)."""

from orchestai_jax.nn.attention import MultiHeadAttention
from orchestai_jax.nn.feed_forward import FeedForward
from orchestai_jax.nn.transformer import DECODER_BLOCKS, DecoderBlock, EncoderBlock, LSTMDecoderBlock

__all__ = [
    "DECODER_BLOCKS",
    "DecoderBlock",
    "EncoderBlock",
    "FeedForward",
    "LSTMDecoderBlock",
    "MultiHeadAttention",
]
