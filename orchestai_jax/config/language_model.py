"""The configuration of a ternary (or float) language model, and of a run that trains one."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator, model_validator

from orchestai_jax.config.mesh import MeshConfig
from orchestai_jax.config.monitoring import MonitoringConfig
from orchestai_jax.config.optimization import OptimizationConfig
from orchestai_jax.config.run_config import SystemConfig
from orchestai_jax.config.scheduled_training import ScheduledTraining
from orchestai_jax.config.section import Section


class QuantizationRule(Section):
    """How the parameters whose dotted names a pattern matches are quantised; of several rules the first one counts."""

    pattern: str = Field(min_length=1)
    """Regular expression that the whole dotted name matches, such as `layers\\.feed_forward\\.down\\.weight`."""
    weights: Literal["ternary", "binary", "int8", "float"] = "ternary"
    """Ternary (one scale a matrix), binary (one scale a matrix), int8 (one scale a row), or left as they are."""
    activations: Literal["int8", "none"] = "int8"
    """What the layer's input is rounded to: int8 with one scale a token, or nothing."""

    @field_validator("pattern")
    @classmethod
    def _is_expression(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
        return pattern


BITNET_RULES = (QuantizationRule(pattern=r"layers\..*\.(qkv|out|gate_up|down)\.weight"),)
"""BitNet b1.58: every projection of every layer ternary; embedding, norms and head keep full precision."""


class LanguageModelConfig(Section):
    """A decoder-only transformer: BitNet b1.58 with the default rules, its float twin with none."""

    vocab_size: int | None = Field(default=None, ge=2)
    """Tokens in the vocabulary (null = as many as the tokenizer has; training fills it in)."""
    hidden_size: int = Field(default=128, ge=2)
    """Width."""
    intermediate_size: int = Field(default=352, ge=1)
    """Width of the gated feed-forward layers."""
    num_layers: int = Field(default=4, ge=1)
    """Number of layers."""
    num_heads: int = Field(default=4, ge=1)
    """Query heads; divides the width."""
    num_kv_heads: int = Field(default=4, ge=1)
    """Key and value heads; divides num_heads (fewer = grouped queries)."""
    max_positions: int = Field(default=256, ge=1)
    """Longest sequence, prompt and answer together."""
    rope_theta: float = Field(default=500000.0, gt=1)
    """Base of the rotary embedding's wavelengths."""
    rms_epsilon: float = Field(default=1e-5, gt=0)
    """What is added to the mean square in the norms."""
    activation: Literal["relu2", "silu"] = "relu2"
    """The gate's activation: squared ReLU as in BitNet b1.58 2B-4T, or SiLU as in older ternary models."""
    sub_norms: bool = True
    """Norms before the output projection of attention and before the down projection, as BitNet has them."""
    tied_embeddings: bool = True
    """Whether the embedding is the head too."""
    quantization: tuple[QuantizationRule, ...] = BITNET_RULES
    """Rules over the projections; an empty list is the float twin."""
    initializer_range: float = Field(default=0.02, gt=0)
    """Standard deviation of the initial weights."""
    scan_layers: bool = True
    """Loop over the stacked layers in the compiled program (small and fast to compile) instead of writing each out."""
    remat: bool = False
    """Compute a layer's activations again in the backward pass instead of keeping them. It wants `scan_layers`: of
    layers that are written out XLA computes nothing twice on a CPU, and nothing is saved."""
    compute_dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """What the layers compute in: auto = bfloat16 on GPU and TPU, float32 on CPU. Parameters are float32."""

    @model_validator(mode="after")
    def _sizes_fit(self) -> LanguageModelConfig:
        if self.hidden_size % self.num_heads:
            raise ValueError(f"hidden_size {self.hidden_size} is not a multiple of num_heads {self.num_heads}")
        if self.num_heads % self.num_kv_heads:
            raise ValueError(f"num_heads {self.num_heads} is not a multiple of num_kv_heads {self.num_kv_heads}")
        if self.head_dim % 2:
            raise ValueError(
                f"hidden_size / num_heads must be even for the rotary embedding, got "
                f"{self.hidden_size} / {self.num_heads} = {self.head_dim}"
            )
        return self

    def __hash__(self) -> int:
        return hash(tuple(self.__dict__.values()))  # compiled programs are kept by configuration

    @property
    def head_dim(self) -> int:
        """Width of a head."""
        return self.hidden_size // self.num_heads


class TextDataConfig(Section):
    """The text that a language model is trained on."""

    train: str = Field(min_length=1)
    """Path of a text file, UTF-8 (relative to the working folder)."""
    validation: str | None = None
    """Path of a validation text; without one the last part of the training text is held out."""
    validation_fraction: float = Field(default=0.1, gt=0, lt=1)
    """Share of the text, at its end, that is held out where `validation` is not given."""
    tokenizer: str = Field(default="char", min_length=1)
    """`char` (the characters of the training text), or the path of a tokenizer file of `orchestai lm tokenizer`."""


class PretrainingConfig(ScheduledTraining):
    """Next-token training, with the two phases of the BitNet recipe."""

    batch_size: int = Field(default=12, ge=1)
    """Sequences a step."""
    sequence_length: int = Field(default=64, ge=1)
    """Tokens that are predicted a sequence."""


class LanguageRunConfig(Section):
    """One run that trains a language model."""

    kind: Literal["language_model"]
    """What is trained."""
    name: str = Field(min_length=1)
    """Name of the run, shown in reports."""
    seed: int = Field(default=0, ge=0, le=2**32 - 1)
    """Seed of every random choice."""
    data: TextDataConfig
    """The text."""
    model: LanguageModelConfig = LanguageModelConfig()
    """The transformer."""
    training: PretrainingConfig = PretrainingConfig()
    """How it is trained."""
    mesh: MeshConfig = MeshConfig()
    """How it is spread over devices."""
    monitoring: MonitoringConfig = MonitoringConfig()
    """What is measured, and who is told."""
    optimization: OptimizationConfig | None = None
    """Optimizations under safety gates (null = none)."""
    system: SystemConfig = SystemConfig()
    """What the machine does around the run."""

    @model_validator(mode="after")
    def _sequence_fits(self) -> LanguageRunConfig:
        if self.training.sequence_length > self.model.max_positions:
            raise ValueError(
                f"training.sequence_length {self.training.sequence_length} is over "
                f"model.max_positions {self.model.max_positions}"
            )
        self.mesh.check_batch(self.training.batch_size)
        return self
