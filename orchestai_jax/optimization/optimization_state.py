"""What was switched on with which parameters at one moment of a run, as checkpoints keep it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

from orchestai_jax.config import InferenceScalingConfig, KernelOptimizerConfig, SemanticCompressionConfig


@dataclasses.dataclass(frozen=True)
class OptimizationState:
    """A snapshot. An optimization that is off, or was backed off, is None."""

    kernel_config: KernelOptimizerConfig | None
    compression_config: SemanticCompressionConfig | None
    rlvr_config: InferenceScalingConfig | None
    epoch: int
    timestamp: float
    """Seconds since 1970."""
    metrics: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """The last that the orchestrator was shown."""

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        configs = {
            name: getattr(self, name).model_dump(mode="json") if getattr(self, name) is not None else None
            for name in ("kernel_config", "compression_config", "rlvr_config")
        }
        return {**configs, "epoch": self.epoch, "timestamp": self.timestamp, "metrics": dict(self.metrics)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read what `to_json` made. Raises ValueError for unknown or missing fields."""
        known = {field.name for field in dataclasses.fields(cls)}
        if set(value) != known:
            raise ValueError(f"an optimization state holds {sorted(known)}, this one {sorted(value)}")
        sections = {
            "kernel_config": KernelOptimizerConfig,
            "compression_config": SemanticCompressionConfig,
            "rlvr_config": InferenceScalingConfig,
        }
        read = {
            name: section.model_validate(value[name]) if value[name] is not None else None
            for name, section in sections.items()
        }
        return cls(**read, **{name: value[name] for name in ("epoch", "timestamp", "metrics")})
