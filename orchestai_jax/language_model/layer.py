"""One layer of the language model, and the names of its projections."""

from __future__ import annotations

from typing import Any

from flax import nnx
from jaxtyping import Array, Float

from orchestai_jax.config import LanguageModelConfig
from orchestai_jax.nn.gated_feed_forward import GatedFeedForward
from orchestai_jax.nn.grouped_query_attention import Attend, GroupedQueryAttention
from orchestai_jax.nn.norms import RMSNorm
from orchestai_jax.nn.straight_through import Strength
from orchestai_jax.quantization import QuantizationRule, resolve_rules

PROJECTIONS = ("attention.qkv", "attention.out", "feed_forward.gate_up", "feed_forward.down")
"""The projections of a layer; `layers.NAME.weight` is the parameter's name, stacked over the layers."""


def parameter_names(config: LanguageModelConfig) -> list[str]:
    """The dotted names of a model's parameters, projections first."""
    names = [f"layers.{name}.weight" for name in PROJECTIONS]
    names += ["layers.attention_norm.weight", "layers.feed_forward_norm.weight"]
    if config.sub_norms:
        names += ["layers.attention.sub_norm.weight", "layers.feed_forward.sub_norm.weight"]
    return [*names, "embedding", "norm.weight", *([] if config.tied_embeddings else ["head"])]


def projection_rules(config: LanguageModelConfig) -> dict[str, QuantizationRule]:
    """The rule of each projection that one names.

    Raises ValueError for a rule that names no parameter, and for one that would round anything but projections: norms,
    embedding and head stay float in training, and are to be the same in serving.
    """
    resolved = resolve_rules(config.quantization, parameter_names(config))
    projections = [f"layers.{name}.weight" for name in PROJECTIONS]
    for name, rule in resolved.items():
        if name not in projections and rule.weights != "float":
            raise ValueError(
                f"quantization rule {rule.pattern!r} matches {name}, which stays float; match projections only: "
                f"the projections are {', '.join(projections)}"
            )
    return {
        name.removeprefix("layers.").removesuffix(".weight"): resolved[name] for name in projections if name in resolved
    }


def projection_parts(config: LanguageModelConfig) -> dict[str, tuple[int, ...]]:
    """By parameter name, the row counts of the matrices that lie below each other in it."""
    kv_size = config.num_kv_heads * config.head_dim
    return {
        "layers.attention.qkv.weight": (config.hidden_size, kv_size, kv_size),
        "layers.feed_forward.gate_up.weight": (config.intermediate_size, config.intermediate_size),
    }


class DecoderLayer(nnx.Module):
    """x += attention(norm(x)); x += feed_forward(norm(x))."""

    def __init__(self, config: LanguageModelConfig, *, rngs: nnx.Rngs):
        rules = projection_rules(config)
        qkv, out, gate_up, down = (rules.get(name) for name in PROJECTIONS)
        self.attention_norm = RMSNorm(config.hidden_size, epsilon=config.rms_epsilon, rngs=rngs)
        self.attention = GroupedQueryAttention(config, qkv, out, rngs=rngs)
        self.feed_forward_norm = RMSNorm(config.hidden_size, epsilon=config.rms_epsilon, rngs=rngs)
        self.feed_forward = GatedFeedForward(config, gate_up, down, rngs=rngs)

    def __call__(
        self,
        x: Float[Array, "batch time hidden"],
        angles: tuple[Float[Array, "..."], Float[Array, "..."]],
        attend: Attend,
        *,
        strength: Strength = None,
    ) -> tuple[Float[Array, "batch time hidden"], Any]:
        """Returns the result and what `attend` keeps of keys and values."""
        mixed, kept = self.attention(self.attention_norm(x), angles, attend, strength=strength)
        x = x + mixed
        return x + self.feed_forward(self.feed_forward_norm(x), strength=strength), kept
