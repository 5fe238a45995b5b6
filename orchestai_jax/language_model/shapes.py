"""Shapes of published ternary models."""

from __future__ import annotations

from orchestai_jax.config import LanguageModelConfig

LARGE_0_7B = LanguageModelConfig(
    vocab_size=32000,
    hidden_size=1536,
    intermediate_size=4096,
    num_layers=24,
    num_heads=16,
    num_kv_heads=16,
    max_positions=2048,
)
"""BitNet-b1.58-large."""

OFFICIAL_2B = LanguageModelConfig(
    vocab_size=128256,
    hidden_size=2560,
    intermediate_size=6912,
    num_layers=30,
    num_heads=20,
    num_kv_heads=5,
    max_positions=4096,
)
"""BitNet b1.58 2B-4T."""

SHAPES = {"0.7b": LARGE_0_7B, "2b": OFFICIAL_2B}
"""By the name that commands use."""
