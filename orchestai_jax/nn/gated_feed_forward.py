"""Gated feed-forward layer of ternary transformers, with a norm before the down projection."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from orchestai_jax.config import LanguageModelConfig, QuantizationRule
from orchestai_jax.nn.grouped_query_attention import bit_linear
from orchestai_jax.nn.norms import RMSNorm
from orchestai_jax.nn.straight_through import Strength


class GatedFeedForward(nnx.Module):
    """down(norm(activation(gate x) · up x)); gate and up are one projection (Shazeer 2020; relu²: So et al. 2021)."""

    def __init__(
        self,
        config: LanguageModelConfig,
        gate_up: QuantizationRule | None,
        down: QuantizationRule | None,
        *,
        rngs: nnx.Rngs,
    ):
        size = config.intermediate_size
        self.activation = config.activation
        self.gate_up = bit_linear(config, config.hidden_size, (size, size), gate_up, rngs=rngs)
        self.sub_norm = RMSNorm(size, epsilon=config.rms_epsilon, rngs=rngs) if config.sub_norms else None
        self.down = bit_linear(config, size, (config.hidden_size,), down, rngs=rngs)

    def __call__(self, x: Float[Array, "*batch hidden"], *, strength: Strength = None) -> Float[Array, "*batch hidden"]:
        """Apply the layer to the last axis."""
        gate, up = self.gate_up.split(self.gate_up(x, strength=strength))
        gate = jnp.square(jax.nn.relu(gate)) if self.activation == "relu2" else jax.nn.silu(gate)
        hidden = gate * up
        if self.sub_norm is not None:
            hidden = self.sub_norm(hidden)
        return self.down(hidden, strength=strength)
