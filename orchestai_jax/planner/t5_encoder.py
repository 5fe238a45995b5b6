"""T5's encoder behind the contract of TextEncoder, and the reading of its published weights."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from orchestai_jax.nn.t5 import T5EncoderBlock, relative_buckets
from orchestai_jax.planner.published_tensors import PublishedTensors
from orchestai_jax.planner.text_encoder import LayeredEncoder


@dataclasses.dataclass(frozen=True)
class T5EncoderConfig:
    """Sizes of a T5 encoder."""

    vocab_size: int
    hidden_size: int = 512
    num_layers: int = 6
    num_heads: int = 8
    head_size: int = 64
    intermediate_size: int = 2048
    gated: bool = False
    """Gated by GELU (T5 1.1, Flan-T5) in place of ReLU (T5)."""
    num_buckets: int = 32
    max_distance: int = 128
    layer_norm_epsilon: float = 1e-6
    dropout: float = 0.1
    max_positions: int = 512
    """Relative positions have no end; this is what the models were trained at."""


class T5Embedding(nnx.Module):
    """Word embeddings, and the bias that every layer adds to attention by relative position."""

    def __init__(self, config: T5EncoderConfig, *, rngs: nnx.Rngs):
        normal = nnx.initializers.normal(0.02)
        self.word = nnx.Embed(config.vocab_size, config.hidden_size, embedding_init=normal, rngs=rngs)
        self.position = nnx.Embed(config.num_buckets, config.num_heads, embedding_init=normal, rngs=rngs)
        self.max_distance = config.max_distance

    def __call__(self, token_ids: Int[Array, "batch n"]) -> Float[Array, "batch n hidden"]:
        """Embed tokens."""
        return self.word(token_ids)

    def bias(self, length: int) -> Float[Array, "heads n n"]:
        """What is added to the attention scores of each head."""
        buckets = relative_buckets(length, self.position.num_embeddings, self.max_distance)
        return jnp.transpose(self.position(jnp.asarray(buckets)), (2, 0, 1))


class T5Encoder(LayeredEncoder):
    """T5 encoder: token ids → hidden states. Hidden states equal those of transformers' T5EncoderModel."""

    def __init__(self, config: T5EncoderConfig, *, rngs: nnx.Rngs):
        self.config = config
        self.embedding = T5Embedding(config, rngs=rngs)
        self.layers = nnx.List([self.block(config, i, rngs=rngs) for i in range(config.num_layers)])

    @staticmethod
    def block(config: T5EncoderConfig, index: int, *, rngs: nnx.Rngs) -> T5EncoderBlock:
        """One layer; the last one closes with the stack's norm."""
        return T5EncoderBlock(
            config.hidden_size,
            config.num_heads,
            config.head_size,
            config.intermediate_size,
            gated=config.gated,
            is_last=index == config.num_layers - 1,
            dropout=config.dropout,
            epsilon=config.layer_norm_epsilon,
            rngs=rngs,
        )

    def shared_arguments(self, length: int) -> tuple[Array, ...]:
        """The bias of relative positions, which all layers share."""
        return (self.embedding.bias(length),)


def import_t5(encoder: T5Encoder, tensors: PublishedTensors) -> None:
    """Set an encoder's parameters from T5's tensors, in place; a decoder's are left aside.

    Raises EncoderFormatError for a missing tensor, a wrong shape, or a tensor that no parameter takes.
    """
    word = "shared.weight" if "shared.weight" in tensors else "encoder.embed_tokens.weight"
    tensors.take(word, encoder.embedding.word.embedding)
    first = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
    tensors.take(first, encoder.embedding.position.embedding)
    for i, layer in enumerate(encoder.layers):
        attention, feed_forward = f"encoder.block.{i}.layer.0", f"encoder.block.{i}.layer.1"
        for name, module in (("q", layer.query), ("k", layer.key), ("v", layer.value), ("o", layer.out)):
            tensors.linear(f"{attention}.SelfAttention.{name}", module)
        tensors.take(f"{attention}.layer_norm.weight", layer.attention_norm.weight)
        up = "wi" if layer.gate is None else "wi_1"
        tensors.linear(f"{feed_forward}.DenseReluDense.{up}", layer.up)
        if layer.gate is not None:
            tensors.linear(f"{feed_forward}.DenseReluDense.wi_0", layer.gate)
        tensors.linear(f"{feed_forward}.DenseReluDense.wo", layer.down)
        tensors.take(f"{feed_forward}.layer_norm.weight", layer.feed_forward_norm.weight)
        if layer.final_norm is not None:
            tensors.take("encoder.final_layer_norm.weight", layer.final_norm.weight)
    tensors.refuse_rest(("decoder.", "lm_head.", "encoder.embed_tokens."))
