"""A float BERT encoder made into a ternary one: where distillation starts."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from orchestai_jax.nn.norms import RMSNorm
from orchestai_jax.nn.ternary_linear import TernaryLinear, nearest_scale
from orchestai_jax.planner.ternary_encoder import TernaryEncoder, TernaryEncoderConfig
from orchestai_jax.planner.text_encoder import TextEncoder, TextEncoderConfig


def ternary_sizes(config: TextEncoderConfig, *, sub_norms: bool) -> TernaryEncoderConfig:
    """The sizes of a float encoder's ternary twin."""
    return TernaryEncoderConfig(
        vocab_size=config.vocab_size,
        hidden_size=config.hidden_size,
        num_layers=config.num_layers,
        num_heads=config.num_heads,
        intermediate_size=config.intermediate_size,
        max_positions=config.max_positions,
        layer_norm_epsilon=config.layer_norm_epsilon,
        sub_norms=sub_norms,
        dropout=0.0,
    )


def start_from(
    student: TernaryEncoder, teacher: TextEncoder, token_ids: Int[Array, "batch n"], mask: Bool[Array, "batch n"]
) -> None:
    """Set a ternary encoder's parameters from a float one of its sizes, in place.

    Matrices become masters, scales those nearest to them. A sub-norm divides by each token's root mean square, which
    the float encoder does not; its weight starts at the mean root mean square over the tokens of these texts, so that
    the encoder starts near the float one.
    """
    table = teacher.embedding
    student.embedding.word.embedding.set_value(table.word.embedding[...])
    # There is but one segment here: its vector is part of every position.
    student.embedding.position.embedding.set_value(table.position.embedding[...] + table.segment.embedding[...][:1])
    _copy_norm(student.embedding.norm, table.norm)
    x = teacher.embedding(token_ids)
    for own, layer in zip(student.layers, teacher.layers, strict=True):
        attention, feed_forward = layer.attention, layer.feed_forward
        _copy_linear(own.qkv, attention.query, attention.key, attention.value)
        _copy_linear(own.out, attention.out)
        _copy_linear(own.up, feed_forward.up)
        _copy_linear(own.down, feed_forward.down)
        _copy_norm(own.attention_norm, layer.attention_norm)
        _copy_norm(own.feed_forward_norm, layer.feed_forward_norm)
        attended = layer.attention_norm(x + layer.attention(x, x, mask[:, None, :]))
        if own.attention_sub_norm is not None:
            _start_norm(own.attention_sub_norm, own.mix(x, mask, strength=0.0), mask)
        if own.feed_forward_sub_norm is not None:
            _start_norm(own.feed_forward_sub_norm, own.widen(attended, strength=0.0), mask)
        x = layer(x, mask)


def _copy_linear(own: TernaryLinear, *published: Any) -> None:
    weight = jnp.concatenate([module.kernel[...].T for module in published])
    own.weight.set_value(weight)
    own.scale.set_value(nearest_scale(weight))
    own.bias.set_value(jnp.concatenate([module.bias[...] for module in published]))


def _copy_norm(own: Any, published: Any) -> None:
    own.scale.set_value(published.scale[...])
    own.bias.set_value(published.bias[...])


def _start_norm(norm: RMSNorm, x: Float[Array, "batch n size"], mask: Bool[Array, "batch n"]) -> None:
    size = jnp.sqrt(jnp.mean(jnp.square(x), axis=-1))
    mean = jnp.sum(size * mask) / jnp.maximum(jnp.sum(mask), 1)
    norm.weight.set_value(jnp.full(norm.weight[...].shape, mean, jnp.float32))


def teacher_states(
    teacher: TextEncoder, token_ids: Int[Array, "batch n"], mask: Bool[Array, "batch n"]
) -> list[Float[Array, "batch n hidden"]]:
    """The float encoder's hidden states after each layer."""
    states, x = [], teacher.embedding(token_ids)
    for layer in teacher.layers:
        x = layer(x, mask)
        states.append(x)
    return [jax.lax.stop_gradient(x) for x in states]
