"""Self-attention of ternary transformers: grouped queries, rotary positions, a norm before the output projection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flax import nnx
from jaxtyping import Array, Float

from orchestai_jax.config import LanguageModelConfig, QuantizationRule
from orchestai_jax.nn.bit_linear import BitLinear
from orchestai_jax.nn.norms import RMSNorm
from orchestai_jax.nn.rotary import rotate
from orchestai_jax.nn.straight_through import Strength

Attend = Callable[[Array, Array, Array], tuple[Array, Any]]
"""(queries [batch, time, heads, dim], keys and values [batch, time, kv_heads, dim]) → (mixed [batch, time, heads, dim],
whatever is kept of them)."""


class GroupedQueryAttention(nnx.Module):
    """q, k, v in one projection, rotary positions, `attend`, sub-norm over the joined heads, output projection."""

    def __init__(
        self, config: LanguageModelConfig, qkv: QuantizationRule | None, out: QuantizationRule | None, *, rngs: nnx.Rngs
    ):
        self.num_heads, self.num_kv_heads, self.head_dim = config.num_heads, config.num_kv_heads, config.head_dim
        kv_size = config.num_kv_heads * config.head_dim
        rows = (config.hidden_size, kv_size, kv_size)
        self.qkv = bit_linear(config, config.hidden_size, rows, qkv, rngs=rngs)
        self.sub_norm = RMSNorm(config.hidden_size, epsilon=config.rms_epsilon, rngs=rngs) if config.sub_norms else None
        self.out = bit_linear(config, config.hidden_size, (config.hidden_size,), out, rngs=rngs)

    def __call__(
        self,
        x: Float[Array, "batch time hidden"],
        angles: tuple[Float[Array, "..."], Float[Array, "..."]],
        attend: Attend,
        *,
        strength: Strength = None,
    ) -> tuple[Float[Array, "batch time hidden"], Any]:
        """Returns the result and what `attend` keeps; `angles` are cosines and sines [#batch, time, head_dim / 2]."""
        query, key, value = self.qkv.split(self.qkv(x, strength=strength))
        query = rotate(query.reshape(*x.shape[:2], self.num_heads, self.head_dim), *angles)
        key = rotate(key.reshape(*x.shape[:2], self.num_kv_heads, self.head_dim), *angles)
        value = value.reshape(*x.shape[:2], self.num_kv_heads, self.head_dim)
        mixed, kept = attend(query, key, value)
        mixed = mixed.reshape(x.shape)
        if self.sub_norm is not None:
            mixed = self.sub_norm(mixed)
        return self.out(mixed, strength=strength), kept


def bit_linear(
    config: LanguageModelConfig, columns: int, rows: tuple[int, ...], rule: QuantizationRule | None, *, rngs: nnx.Rngs
) -> BitLinear:
    """A projection as its rule says; without a rule a float one."""
    return BitLinear(
        columns,
        rows,
        weights=rule.weights if rule else "float",
        activations=rule.activations if rule else "none",
        initializer_range=config.initializer_range,
        rngs=rngs,
    )
