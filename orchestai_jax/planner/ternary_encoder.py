"""The ternary text encoder behind the contract of TextEncoder: BERT with ternary matrices and int8 embeddings."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int
from orchestai_kernels.arrays import Int8Array, TernaryArray

from orchestai_jax.nn.int8_embedding import Int8Embedding, pack_table
from orchestai_jax.nn.ternary_encoder_block import TernaryEncoderBlock
from orchestai_jax.nn.ternary_linear import pack_rows
from orchestai_jax.planner.text_encoder import LayeredEncoder

_ENCODER = r"(encoder\.|describer\.(encoder\.)?)?"
_MATRIX = re.compile(_ENCODER + r"layers\.\d+\.(qkv|out|up|down)\.weight")
_TABLE = re.compile(_ENCODER + r"embedding\.(word|position)\.embedding")


@dataclasses.dataclass(frozen=True)
class TernaryEncoderConfig:
    """Sizes of a ternary encoder."""

    vocab_size: int
    hidden_size: int = 384
    num_layers: int = 6
    num_heads: int = 12
    intermediate_size: int = 1536
    max_positions: int = 512
    layer_norm_epsilon: float = 1e-12
    sub_norms: bool = True
    """Norms before attention's output matrix and the second feed-forward matrix, as BitNet has them."""
    dropout: float = 0.1


class TernaryEmbedding(nnx.Module):
    """Word and position embeddings in int8, summed and normalised; there is one segment, part of the positions."""

    def __init__(self, config: TernaryEncoderConfig, *, rngs: nnx.Rngs):
        self.word = Int8Embedding(config.vocab_size, config.hidden_size, rngs=rngs)
        self.position = Int8Embedding(config.max_positions, config.hidden_size, rngs=rngs)
        self.norm = nnx.LayerNorm(config.hidden_size, epsilon=config.layer_norm_epsilon, rngs=rngs)

    def __call__(self, token_ids: Int[Array, "batch n"]) -> Float[Array, "batch n hidden"]:
        """Embed tokens."""
        return self.norm(self.word(token_ids) + self.position(jnp.arange(token_ids.shape[1]))[None])


class TernaryEncoder(LayeredEncoder):
    """BERT encoder with ternary matrices: token ids → hidden states.

    Its parameters are float masters, rounded at every use, or what `pack_encoder` makes of them: the same numbers up to
    the rounding of sums.
    """

    def __init__(self, config: TernaryEncoderConfig, *, rngs: nnx.Rngs):
        self.config = config
        self.embedding = TernaryEmbedding(config, rngs=rngs)
        self.layers = nnx.List([self.block(config, i, rngs=rngs) for i in range(config.num_layers)])

    @staticmethod
    def block(config: TernaryEncoderConfig, index: int, *, rngs: nnx.Rngs) -> TernaryEncoderBlock:
        """One layer; all are alike."""
        del index
        return TernaryEncoderBlock(
            config.hidden_size,
            config.num_heads,
            config.intermediate_size,
            sub_norms=config.sub_norms,
            dropout=config.dropout,
            epsilon=config.layer_norm_epsilon,
            rngs=rngs,
        )


def is_matrix(name: str) -> bool:
    """Whether the parameter of this dotted path, in a ternary encoder or a planner with one, is a ternary matrix."""
    return _MATRIX.fullmatch(name) is not None


def is_table(name: str) -> bool:
    """Whether it is an int8 table."""
    return _TABLE.fullmatch(name) is not None


def pack_encoder(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """A ternary encoder's parameters by dotted path (or those of a planner that has one) packed for serving: matrices
    two bits a weight, tables int8. What is packed already stays as it is."""
    return {name: _packed(name, value) for name, value in parameters.items()}


def _packed(name: str, value: Any) -> Any:
    if isinstance(value, TernaryArray | Int8Array):
        return value
    if is_matrix(name):
        return pack_rows(value)
    return pack_table(value) if is_table(name) else value
