"""Quantisation of a model's parameters by rules: fake-quantised views for training, packed arrays for serving."""

from orchestai_jax.config import BITNET_RULES, QuantizationRule
from orchestai_jax.nn.straight_through import (
    fake_quantize_activations,
    fake_quantize_weights,
    straight_through,
)
from orchestai_jax.quantization.parameters import PackedWeight, join_ternary, pack, pack_weights, quantize
from orchestai_jax.quantization.rules import resolve_rules
from orchestai_jax.quantization.schedule import quantization_strength

__all__ = [
    "BITNET_RULES",
    "PackedWeight",
    "QuantizationRule",
    "fake_quantize_activations",
    "fake_quantize_weights",
    "join_ternary",
    "pack",
    "pack_weights",
    "quantization_strength",
    "quantize",
    "resolve_rules",
    "straight_through",
]
