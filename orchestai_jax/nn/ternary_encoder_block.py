"""BERT's encoder block with ternary linear layers and BitNet's sub-norms."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float
from orchestai_kernels.arrays import TernaryArray
from orchestai_kernels.ternary_encoder_block import TernaryBlockWeights, TernaryDense, ternary_encoder_block

from orchestai_jax.nn.norms import RMSNorm, layer_norm_weights
from orchestai_jax.nn.straight_through import Strength
from orchestai_jax.nn.ternary_linear import TernaryLinear


class TernaryEncoderBlock(nnx.Module):
    """Self-attention and feed-forward, each followed by residual and layer norm (Devlin et al. 2019), all four matrices
    ternary (query, key and value lie below each other).

    With `sub_norms` a root-mean-square norm stands before attention's output matrix and before the second feed-forward
    matrix (BitNet b1.58; put into a float model that becomes ternary by BitDistill, Wu et al. 2025). Raises ValueError
    where the heads do not divide the width.
    """

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        intermediate_size: int,
        *,
        sub_norms: bool = True,
        dropout: float = 0.0,
        epsilon: float = 1e-12,
        rngs: nnx.Rngs,
    ):
        if hidden_size % num_heads:
            raise ValueError(f"num_heads must divide hidden_size, got {num_heads} and {hidden_size}")
        self.num_heads = num_heads
        self.qkv = TernaryLinear(hidden_size, 3 * hidden_size, rngs=rngs)
        self.out = TernaryLinear(hidden_size, hidden_size, rngs=rngs)
        self.up = TernaryLinear(hidden_size, intermediate_size, rngs=rngs)
        self.down = TernaryLinear(intermediate_size, hidden_size, rngs=rngs)
        self.attention_sub_norm = RMSNorm(hidden_size, rngs=rngs) if sub_norms else None
        self.feed_forward_sub_norm = RMSNorm(intermediate_size, rngs=rngs) if sub_norms else None
        self.attention_norm = nnx.LayerNorm(hidden_size, epsilon=epsilon, rngs=rngs)
        self.feed_forward_norm = nnx.LayerNorm(hidden_size, epsilon=epsilon, rngs=rngs)
        self.dropout = nnx.Dropout(dropout)

    def __call__(
        self,
        x: Float[Array, "batch n hidden"],
        mask: Bool[Array, "batch n"],
        *,
        strength: Strength = None,
        rngs: nnx.Rngs | None = None,
    ) -> Float[Array, "batch n hidden"]:
        """Apply the block; dropout acts only when `rngs` is given, `strength` only on float weights.

        With packed weights and no dropout, what comes out of tokens behind a sequence's last that counts means nothing
        (`ternary_encoder_block`).
        """
        packed = None if rngs is not None else self._packed()
        if packed is not None:
            epsilon, sub_norm = self.attention_norm.epsilon, self.attention_sub_norm
            sub_epsilon = 0.0 if sub_norm is None else sub_norm.epsilon
            return ternary_encoder_block(
                x, mask, packed, heads=self.num_heads, epsilon=epsilon, sub_epsilon=sub_epsilon
            )

        def drop(y: Array) -> Array:
            return y if rngs is None else self.dropout(y, deterministic=False, rngs=rngs)

        mixed = _normed(self.attention_sub_norm, self.mix(x, mask, strength=strength))
        x = self.attention_norm(x + drop(self.out(mixed, strength=strength)))
        widened = _normed(self.feed_forward_sub_norm, self.widen(x, strength=strength))
        return self.feed_forward_norm(x + drop(self.down(widened, strength=strength)))

    def mix(
        self, x: Float[Array, "batch n hidden"], mask: Bool[Array, "batch n"], *, strength: Strength = None
    ) -> Float[Array, "batch n hidden"]:
        """What the heads gather, side by side, before the sub-norm."""
        split = jnp.split(self.qkv(x, strength=strength), 3, axis=-1)
        # [batch, n, heads, head_dim]
        query, key, value = (part.reshape(*part.shape[:-1], self.num_heads, -1) for part in split)
        scores = jnp.einsum("bqhd,bkhd->bhqk", query, key) * query.shape[-1] ** -0.5
        scores = jnp.where(mask[:, None, None, :], scores, jnp.finfo(scores.dtype).min)
        return jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores, axis=-1), value).reshape(x.shape)

    def widen(
        self, x: Float[Array, "batch n hidden"], *, strength: Strength = None
    ) -> Float[Array, "batch n intermediate"]:
        """The feed-forward's inner activations (exact GELU), before the sub-norm."""
        return jax.nn.gelu(self.up(x, strength=strength), approximate=False)

    def _packed(self) -> TernaryBlockWeights | None:
        """The weights as the op takes them; None where a matrix is not packed."""
        layers = (self.qkv, self.out, self.up, self.down)
        matrices: list[Any] = [layer.weight.get_value() for layer in layers]
        if not all(isinstance(matrix, TernaryArray) for matrix in matrices):
            return None
        qkv, out, up, down = (
            TernaryDense(matrix, layer.scale[...], layer.bias[...])
            for matrix, layer in zip(matrices, layers, strict=True)
        )
        sub_norms = self.attention_sub_norm, self.feed_forward_sub_norm
        before_out, before_down = (None if norm is None else norm.weight[...] for norm in sub_norms)
        norms = layer_norm_weights(self.attention_norm), layer_norm_weights(self.feed_forward_norm)
        return TernaryBlockWeights(qkv, before_out, out, norms[0], up, before_down, down, norms[1])


def _normed(norm: RMSNorm | None, x: Array) -> Array:
    return x if norm is None else norm(x)
