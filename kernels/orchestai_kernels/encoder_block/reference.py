"""The definition of `encoder_block` in plain jnp (Devlin et al. 2019: post-norm, exact GELU)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from orchestai_kernels.encoder_block.weights import BlockWeights, Dense, Norm


def reference(
    x: Float[Array, "batch n hidden"],
    mask: Bool[Array, "batch n"],
    weights: BlockWeights,
    *,
    heads: int,
    epsilon: float,
) -> Float[Array, "batch n hidden"]:
    """Every token is computed, padding too."""

    def split(of: Array) -> Array:  # [batch, n, heads, head_dim]
        return of.reshape(*of.shape[:-1], heads, -1)

    query, key, value = (split(dense(x, of)) for of in (weights.query, weights.key, weights.value))
    scores = jnp.einsum("bqhd,bkhd->bhqk", query, key) * query.shape[-1] ** -0.5
    scores = jnp.where(mask[:, None, None, :], scores, jnp.finfo(scores.dtype).min)
    mixed = jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores, axis=-1), value)
    x = layer_norm(x + dense(mixed.reshape(x.shape), weights.out), weights.attention_norm, epsilon)
    raised = jax.nn.gelu(dense(x, weights.up), approximate=False)
    return layer_norm(x + dense(raised, weights.down), weights.feed_forward_norm, epsilon)


def dense(x: Float[Array, "batch n in"], of: Dense) -> Float[Array, "batch n out"]:
    """x kernel + bias."""
    return x @ of.kernel + of.bias


def layer_norm(x: Float[Array, "batch n hidden"], of: Norm, epsilon: float) -> Float[Array, "batch n hidden"]:
    """(x - mean) / sqrt(variance + epsilon) · scale + bias over the last axis."""
    centred = x - jnp.mean(x, axis=-1, keepdims=True)
    variance = jnp.mean(jnp.square(centred), axis=-1, keepdims=True)
    return centred * (jax.lax.rsqrt(variance + epsilon) * of.scale) + of.bias
