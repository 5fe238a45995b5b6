"""Gated feed-forward layer of ternary transformers, with a norm before the down projection."""

from __future__ import annotations

from typing import Any

from flax import nnx
from jaxtyping import Array, Float
from orchestai_kernels.arrays import is_ternary
from orchestai_kernels.feed_forward import feed_forward
from orchestai_kernels.feed_forward.activations import Activation, activate

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
        self.activation: Activation = config.activation
        self.epsilon = config.rms_epsilon
        self.gate_up = bit_linear(config, config.hidden_size, (size, size), gate_up, rngs=rngs)
        self.sub_norm = RMSNorm(size, epsilon=config.rms_epsilon, rngs=rngs) if config.sub_norms else None
        self.down = bit_linear(config, size, (config.hidden_size,), down, rngs=rngs)

    def __call__(self, x: Float[Array, "*batch hidden"], *, strength: Strength = None) -> Float[Array, "*batch hidden"]:
        """Apply the layer to the last axis."""
        gate_up, down = self.gate_up.kernel_weight(), self.down.kernel_weight()
        if gate_up is not None and down is not None and is_ternary(gate_up) == is_ternary(down):
            norm = None if self.sub_norm is None else self.sub_norm.weight[...]
            options: dict[str, Any] = {"activation": self.activation, "norm": norm, "epsilon": self.epsilon}
            return feed_forward(x, gate_up, None, down, **options)
        # Weights or activations are rounded in between in ways that the op does not know: training among them.
        gate, up = self.gate_up.split(self.gate_up(x, strength=strength))
        hidden = activate(gate, self.activation) * up
        if self.sub_norm is not None:
            hidden = self.sub_norm(hidden)
        return self.down(hidden, strength=strength)
