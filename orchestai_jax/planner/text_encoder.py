"""The BERT-family text encoder; layers can be run apart: frozen ones, whose output is cached, and tuned ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from orchestai_jax.nn import EncoderBlock


@dataclasses.dataclass(frozen=True)
class TextEncoderConfig:
    """Sizes of a BERT encoder."""

    vocab_size: int
    hidden_size: int = 384
    num_layers: int = 6
    num_heads: int = 12
    intermediate_size: int = 1536
    max_positions: int = 512
    layer_norm_epsilon: float = 1e-12
    dropout: float = 0.1


class TokenEmbedding(nnx.Module):
    """Word, position and segment embeddings, summed and normalised (Devlin et al. 2019)."""

    def __init__(self, config: TextEncoderConfig, *, rngs: nnx.Rngs):
        hidden = config.hidden_size
        self.word = nnx.Embed(config.vocab_size, hidden, embedding_init=nnx.initializers.normal(0.02), rngs=rngs)
        self.position = nnx.Embed(config.max_positions, hidden, embedding_init=nnx.initializers.normal(0.02), rngs=rngs)
        self.segment = nnx.Embed(2, hidden, embedding_init=nnx.initializers.normal(0.02), rngs=rngs)
        self.norm = nnx.LayerNorm(hidden, epsilon=config.layer_norm_epsilon, rngs=rngs)

    def __call__(self, token_ids: Int[Array, "batch n"]) -> Float[Array, "batch n hidden"]:
        """Embed tokens of one segment."""
        positions = jnp.arange(token_ids.shape[1])
        summed = self.word(token_ids) + self.position(positions)[None] + self.segment(jnp.zeros_like(token_ids))
        return self.norm(summed)


class LayeredEncoder(nnx.Module):
    """What encoders share: an embedding, and layers that can be run apart. `block` makes one layer."""

    embedding: Any
    layers: nnx.List

    def __call__(
        self, token_ids: Int[Array, "batch n"], mask: Bool[Array, "batch n"], *, rngs: nnx.Rngs | None = None
    ) -> Float[Array, "batch n hidden"]:
        """Hidden states after all layers; dropout acts only when `rngs` is given."""
        return self.run(self.layers, self.embedding(token_ids), mask, rngs=rngs)

    def run(
        self,
        layers: Iterable[Any],
        hidden: Float[Array, "batch n hidden"],
        mask: Bool[Array, "batch n"],
        *,
        rngs: nnx.Rngs | None = None,
    ) -> Float[Array, "batch n hidden"]:
        """Layers of this encoder, or of another of its sizes."""
        shared = self.shared_arguments(hidden.shape[1])
        for layer in layers:
            hidden = layer(hidden, mask, *shared, rngs=rngs)
        return hidden

    def shared_arguments(self, length: int) -> tuple[Array, ...]:
        """What every layer is given beside hidden states and mask, for so many tokens."""
        del length
        return ()


class TextEncoder(LayeredEncoder):
    """BERT encoder: token ids → hidden states. Hidden states equal those of transformers' BertModel."""

    def __init__(self, config: TextEncoderConfig, *, rngs: nnx.Rngs):
        self.config = config
        self.embedding = TokenEmbedding(config, rngs=rngs)
        self.layers = nnx.List([self.block(config, i, rngs=rngs) for i in range(config.num_layers)])

    @staticmethod
    def block(config: TextEncoderConfig, index: int, *, rngs: nnx.Rngs) -> EncoderBlock:
        """One layer; all are alike."""
        del index
        return EncoderBlock(
            config.hidden_size,
            config.num_heads,
            config.intermediate_size,
            dropout=config.dropout,
            epsilon=config.layer_norm_epsilon,
            rngs=rngs,
        )


def mean_pool(hidden: Float[Array, "batch n hidden"], mask: Bool[Array, "batch n"]) -> Float[Array, "batch hidden"]:
    """Mean over the tokens that are not padding (the pooling of sentence-transformers' MiniLM)."""
    weights = mask.astype(hidden.dtype)[..., None]
    return jnp.sum(hidden * weights, axis=1) / jnp.maximum(jnp.sum(weights, axis=1), 1.0)
