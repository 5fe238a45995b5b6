"""The definition of `ternary_encoder_block`: jnp around `ternary_matmul`, which runs as it runs elsewhere."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from orchestai_kernels.encoder_block.reference import layer_norm
from orchestai_kernels.rms_norm import rms_normed
from orchestai_kernels.ternary_encoder_block.weights import TernaryBlockWeights, TernaryDense
from orchestai_kernels.ternary_matmul import ternary_matmul


def reference(
    x: Float[Array, "batch n hidden"],
    mask: Bool[Array, "batch n"],
    weights: TernaryBlockWeights,
    *,
    heads: int,
    epsilon: float,
    sub_epsilon: float,
) -> Float[Array, "batch n hidden"]:
    """Every token is computed, padding too."""

    def normed(of: Array, norm: Array | None) -> Array:
        return of if norm is None else rms_normed(of, norm, sub_epsilon)

    # [batch, n, heads, head_dim]
    query, key, value = (
        part.reshape(*part.shape[:-1], heads, -1) for part in jnp.split(dense(x, weights.qkv), 3, axis=-1)
    )
    scores = jnp.einsum("bqhd,bkhd->bhqk", query, key) * query.shape[-1] ** -0.5
    scores = jnp.where(mask[:, None, None, :], scores, jnp.finfo(scores.dtype).min)
    mixed = jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores, axis=-1), value).reshape(x.shape)
    attended = dense(normed(mixed, weights.attention_sub_norm), weights.out)
    x = layer_norm(x + attended, weights.attention_norm, epsilon)
    raised = jax.nn.gelu(dense(x, weights.up), approximate=False)
    fed = dense(normed(raised, weights.feed_forward_sub_norm), weights.down)
    return layer_norm(x + fed, weights.feed_forward_norm, epsilon)


def dense(x: Float[Array, "batch n in"], of: TernaryDense) -> Float[Array, "batch n out"]:
    """scale · (q(x) Tᵀ) + bias."""
    return ternary_matmul(x, of.matrix) * of.scale.astype(x.dtype) + of.bias.astype(x.dtype)
