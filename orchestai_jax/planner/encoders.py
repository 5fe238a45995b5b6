"""The kinds of text encoders, behind one contract: `embedding`, `layers`, and `run`, which applies layers."""

from __future__ import annotations

from typing import Any

from flax import nnx

from orchestai_jax.planner.t5_encoder import T5Encoder, T5EncoderConfig
from orchestai_jax.planner.ternary_encoder import TernaryEncoder, TernaryEncoderConfig
from orchestai_jax.planner.text_encoder import TextEncoder, TextEncoderConfig

Encoder = TextEncoder | T5Encoder | TernaryEncoder
"""An encoder of instructions."""

EncoderSizes = TextEncoderConfig | T5EncoderConfig | TernaryEncoderConfig
"""The sizes of one."""

ENCODERS: dict[type, Any] = {
    TextEncoderConfig: TextEncoder,
    T5EncoderConfig: T5Encoder,
    TernaryEncoderConfig: TernaryEncoder,
}
"""The encoder of each kind of sizes."""

KINDS: dict[str, type] = {"bert": TextEncoderConfig, "t5": T5EncoderConfig, "ternary": TernaryEncoderConfig}
"""Sizes by the name of their kind, as checkpoints know it."""


def make_encoder(config: EncoderSizes, *, rngs: nnx.Rngs) -> Encoder:
    """A freshly initialised encoder."""
    return ENCODERS[type(config)](config, rngs=rngs)
