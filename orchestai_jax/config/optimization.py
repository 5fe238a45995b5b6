"""The `optimization` block of a run: what is switched on, and the safety gates that it runs under."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from orchestai_jax.config.section import Section


class KernelOptimizerConfig(Section):
    """Measuring the kernels at the model's shapes before training, and going by what was found."""

    tile_size: int = Field(default=64, ge=1)
    """Longest side of a tile of queries, rows or nodes that the search tries."""
    block_size: int = Field(default=64, ge=1)
    """Longest block of keys or columns that a tile goes through at a time."""
    repeats: int = Field(default=5, ge=1)
    """Timed runs of each trial."""


class SemanticCompressionConfig(Section):
    """The block codec: 8 bits a number and a scale a block."""

    compression_ratio: float = Field(default=0.3, gt=0, le=1)
    """Most encoded bytes over float32 bytes."""
    block_size: int = Field(default=64, ge=4)
    """Numbers that share a scale."""
    optimizer_moments: bool = True
    """Keep the optimizer's moments encoded: in memory, and so in checkpoints."""
    embeddings: bool = True
    """Keep the catalog's description vectors encoded, in checkpoints and in the cache on disk (planner only)."""


class InferenceScalingConfig(Section):
    """What serving does with the trained model, unless its command says otherwise."""

    path_selection_threshold: float = Field(default=0.7, ge=0, le=1)
    """By how much a candidate's verified reward must be above the first choice's to be taken in its place."""
    sparsity_threshold: float = Field(default=0.5, ge=0, le=1)
    """Blocks of the cache are dropped whose attention mass is under this share of an even spread's (0 = none)."""
    cache_block: int = Field(default=16, ge=1)
    """Tokens a block of the cache."""
    kv_cache: Literal["int8", "float"] = "int8"
    """How keys and values are kept."""
    candidates: int = Field(default=4, ge=1)
    """Plans or continuations that the verifier is shown."""


class SafetyGatesConfig(Section):
    """Bounds of a healthy step. An update outside of them is not applied."""

    loss: tuple[float, float] = (1e-8, 10.0)
    """Least and largest mean loss per decision, in nats."""
    gradient_norm: tuple[float, float] = (1e-6, 10.0)
    """Least and largest global norm of the gradient before clipping."""
    compression_error: float = Field(default=0.05, gt=0)
    """What the codec's relative error must stay below."""
    patience: int = Field(default=3, ge=1)
    """Refused updates in a row after which the last optimization is backed off."""

    @model_validator(mode="after")
    def _bounds_are_ordered(self) -> SafetyGatesConfig:
        for name in ("loss", "gradient_norm"):
            low, high = getattr(self, name)
            if not (math.isfinite(low) and math.isfinite(high) and low < high):
                raise ValueError(f"{name} must be [least, largest], finite and rising, got [{low}, {high}]")
        return self


class OptimizationConfig(Section):
    """Optimizations of a run. A section that is left out is an optimization that is off; `{}` takes its defaults."""

    enabled: bool = True
    """False trains as if the whole block were not there."""
    kernel_optimizer: KernelOptimizerConfig | None = None
    """Tuned kernels."""
    semantic_compression: SemanticCompressionConfig | None = None
    """The block codec."""
    inference_scaling: InferenceScalingConfig | None = None
    """Serving."""
    safety_gates: SafetyGatesConfig = SafetyGatesConfig()
    """Bounds; they are on whenever the block is."""


def serving_in_force(data_state: Mapping[str, Any]) -> InferenceScalingConfig | None:
    """How the model of a checkpoint is to be served, as was in force when it was saved; None where the run had no such
    section, or backed it off. `data_state` is the checkpoint's."""
    saved = data_state.get("hooks", {}).get("optimization")
    if saved is None:
        return None
    return OptimizationConfig.model_validate(saved["orchestrator"]["in_force"]).inference_scaling
