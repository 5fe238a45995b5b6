"""Blocks: BERT's post-norm encoder block, and two pre-norm decoder blocks with cross-attention behind one contract.

A decoder block is called on a whole sequence (teacher forcing), or stepped: `initial_cache` gives what it remembers
before the first position, `step` takes a position and gives the output and the next cache. Row i of every array of a
cache belongs to row i of what is stepped, so that a search can reorder rows. Rows that read the same context lie beside
each other, and the context is given once.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float
from orchestai_kernels.encoder_block import BlockWeights, Dense, encoder_block

from orchestai_jax.nn.attention import MultiHeadAttention
from orchestai_jax.nn.feed_forward import FeedForward
from orchestai_jax.nn.norms import layer_norm_weights


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
        """Apply the block; dropout acts only when `rngs` is given.

        Without it, what comes out of tokens behind a sequence's last that counts means nothing (`encoder_block`).
        """
        if rngs is None:
            return encoder_block(
                x, mask, self._weights(), heads=self.attention.num_heads, epsilon=self.attention_norm.epsilon
            )
        drop = _dropper(self.dropout, rngs)
        x = self.attention_norm(x + drop(self.attention(x, x, mask[:, None, :])))
        return self.feed_forward_norm(x + drop(self.feed_forward(x)))

    def _weights(self) -> BlockWeights:
        attention, feed_forward = self.attention, self.feed_forward
        return BlockWeights(
            query=_dense(attention.query),
            key=_dense(attention.key),
            value=_dense(attention.value),
            out=_dense(attention.out),
            attention_norm=layer_norm_weights(self.attention_norm),
            up=_dense(feed_forward.up),
            down=_dense(feed_forward.down),
            feed_forward_norm=layer_norm_weights(self.feed_forward_norm),
        )


class CrossAttention(nnx.Module):
    """What decoder blocks share: attention to a context and a feed-forward, each behind a layer norm and added."""

    def __init__(self, hidden_size: int, num_heads: int, intermediate_size: int, *, dropout: float, rngs: nnx.Rngs):
        self.cross_attention = MultiHeadAttention(hidden_size, num_heads, rngs=rngs)
        self.cross_norm = nnx.LayerNorm(hidden_size, rngs=rngs)
        self.feed_forward = FeedForward(hidden_size, intermediate_size, rngs=rngs)
        self.feed_forward_norm = nnx.LayerNorm(hidden_size, rngs=rngs)
        self.dropout = nnx.Dropout(dropout)

    def read_shared(self, x: Float[Array, "rows 1 hidden"], cross: tuple[Array, Array], context_mask):
        """`read_context` of one position, without dropout, for rows that share contexts: as many beside each other as
        there are rows a context. They are the context's queries, so that it is read once and not once a row."""
        together = x.reshape(context_mask.shape[0], -1, x.shape[-1])
        return self.read_context(together, cross, context_mask, None).reshape(x.shape)

    def read_context(self, x, cross: tuple[Array, Array], context_mask, rngs: nnx.Rngs | None):
        """x [batch, q, hidden], having read the context's keys and values (`cross_attention.keys_values`)."""
        drop = _dropper(self.dropout, rngs)
        x = x + drop(self.cross_attention.attend(self.cross_norm(x), *cross, context_mask[:, None, :]))
        return x + drop(self.feed_forward(self.feed_forward_norm(x)))


class DecoderBlock(CrossAttention):
    """Causal self-attention, cross-attention, feed-forward, each behind a layer norm and added to its input."""

    def __init__(
        self, hidden_size: int, num_heads: int, intermediate_size: int, *, dropout: float = 0.0, rngs: nnx.Rngs
    ):
        self.self_attention = MultiHeadAttention(hidden_size, num_heads, rngs=rngs)
        self.self_norm = nnx.LayerNorm(hidden_size, rngs=rngs)
        super().__init__(hidden_size, num_heads, intermediate_size, dropout=dropout, rngs=rngs)

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
        own = self.self_attention.keys_values(normed)
        x = x + _dropper(self.dropout, rngs)(self.self_attention.attend(normed, *own, causal))
        return self.read_context(x, self.cross_attention.keys_values(context), context_mask, rngs)

    def initial_cache(self, rows: int, length: int) -> tuple[Array, Array]:
        """Room for keys and values of `length` positions, each [rows, length, heads, head_dim]."""
        heads = self.self_attention.num_heads
        shape = (rows, length, heads, self.self_attention.query.out_features // heads)
        return jnp.zeros(shape), jnp.zeros(shape)

    def step(
        self,
        x: Float[Array, "rows 1 hidden"],
        position: Array,
        cache: tuple[Array, Array],
        cross: tuple[Array, Array],
        context_mask: Bool[Array, "batch k"],
    ) -> tuple[Float[Array, "rows 1 hidden"], tuple[Array, Array]]:
        """One position of decoding: `cache` holds the keys and values before it. Rows are as `read_shared` says."""
        normed = self.self_norm(x)
        key, value = self.self_attention.keys_values(normed)
        keys = cache[0].at[:, position].set(key[:, 0])
        values = cache[1].at[:, position].set(value[:, 0])
        seen = (jnp.arange(keys.shape[1]) <= position)[None, None, :]
        x = x + self.self_attention.attend(normed, keys, values, seen)
        return self.read_shared(x, cross, context_mask), (keys, values)


class LSTMDecoderBlock(CrossAttention):
    """An LSTM (Hochreiter & Schmidhuber 1997; flax's `OptimizedLSTMCell`), then cross-attention and feed-forward, each
    behind a layer norm and added to its input."""

    def __init__(
        self, hidden_size: int, num_heads: int, intermediate_size: int, *, dropout: float = 0.0, rngs: nnx.Rngs
    ):
        self.cell = nnx.OptimizedLSTMCell(hidden_size, hidden_size, rngs=rngs)
        self.cell_norm = nnx.LayerNorm(hidden_size, rngs=rngs)
        super().__init__(hidden_size, num_heads, intermediate_size, dropout=dropout, rngs=rngs)

    def __call__(
        self,
        x: Float[Array, "batch q hidden"],
        context: Float[Array, "batch k hidden"],
        context_mask: Bool[Array, "batch k"],
        *,
        rngs: nnx.Rngs | None = None,
    ) -> Float[Array, "batch q hidden"]:
        """Apply the block to a whole sequence (teacher forcing)."""
        _, states = jax.lax.scan(self.cell, self.initial_cache(x.shape[0], 0), jnp.swapaxes(self.cell_norm(x), 0, 1))
        x = x + _dropper(self.dropout, rngs)(jnp.swapaxes(states, 0, 1))
        return self.read_context(x, self.cross_attention.keys_values(context), context_mask, rngs)

    def initial_cache(self, rows: int, length: int) -> tuple[Array, Array]:
        """The cell's memory and output before the first position, each [rows, hidden]; `length` does not matter."""
        del length
        shape = (rows, self.cell.hidden_features)
        return jnp.zeros(shape), jnp.zeros(shape)

    def step(
        self,
        x: Float[Array, "rows 1 hidden"],
        position: Array,
        cache: tuple[Array, Array],
        cross: tuple[Array, Array],
        context_mask: Bool[Array, "batch k"],
    ) -> tuple[Float[Array, "rows 1 hidden"], tuple[Array, Array]]:
        """One position of decoding after what `cache` remembers. Rows are as `read_shared` says."""
        del position
        cache, state = self.cell(cache, self.cell_norm(x)[:, 0])
        return self.read_shared(x + state[:, None], cross, context_mask), cache


DECODER_BLOCKS = {"transformer": DecoderBlock, "lstm": LSTMDecoderBlock}
"""Decoder blocks by name; all are built and called alike."""


def _dropper(dropout: nnx.Dropout, rngs: nnx.Rngs | None):
    if rngs is None:
        return lambda x: x
    return lambda x: dropout(x, deterministic=False, rngs=rngs)


def _dense(layer: nnx.Linear) -> Dense:
    assert layer.bias is not None
    return Dense(layer.kernel[...], layer.bias[...])
