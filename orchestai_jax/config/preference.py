"""The balance of success, cost and latency that workers are chosen by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from orchestai_jax.config.errors import ConfigError, did_you_mean

WEIGHTS = ("success", "cost", "latency")


class Preference(BaseModel):
    """Weights of success, cost and latency. At least one is above zero; only their ratios change a choice."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", defer_build=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    success: float = Field(default=1.0, ge=0)
    """Weight of the expected quality."""
    cost: float = Field(default=0.25, ge=0)
    """Weight of the cost, as a share of the dearest candidate's."""
    latency: float = Field(default=0.25, ge=0)
    """Weight of the time, as a share of the slowest candidate's."""

    PRESETS: ClassVar[Mapping[str, Preference]]
    """Named balances: `balanced` (the default), `quality`, `fast`, `cheap`."""

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, given: Any) -> Any:
        return _weights_of(given) if isinstance(given, str) else given

    @model_validator(mode="after")
    def _some_weight(self) -> Preference:
        if not any(self.weights):
            raise ValueError("success, cost and latency are all 0; give at least one a weight above 0")
        return self

    @property
    def weights(self) -> tuple[float, float, float]:
        """(success, cost, latency)."""
        return (self.success, self.cost, self.latency)

    def utility(self, quality: float, cost: float, latency: float) -> float:
        """How much a worker is wanted (higher is better).

        Args:
          quality: expected quality in [0, 1].
          cost: its cost divided by the highest among the task's candidates, in [0, 1].
          latency: its time divided by the longest among the task's candidates, in [0, 1].
        """
        return self.success * quality - self.cost * cost - self.latency * latency

    @classmethod
    def parse(cls, text: str) -> Preference:
        """Read a preset's name or `success=1,cost=0.2,latency=0` (a weight left out keeps its default).

        Raises ConfigError for an unknown name or weight and for a weight that is not a number of at least 0.
        """
        weights = _weights_of(text)
        try:
            return cls(**weights)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise ConfigError(f"preference {text!r}: {where + ': ' if where else ''}{first['msg']}") from None


Preference.PRESETS = {
    "balanced": Preference(),
    "quality": Preference(success=1.0, cost=0.0, latency=0.02),
    "fast": Preference(success=0.3, cost=0.1, latency=1.0),
    "cheap": Preference(success=0.3, cost=1.0, latency=0.1),
}


def _weights_of(text: str) -> dict[str, float]:
    presets = getattr(Preference, "PRESETS", {})
    if text.strip() in presets:
        return presets[text.strip()].model_dump()
    if "=" not in text:
        raise ConfigError(
            f"preference {text!r} is unknown{did_you_mean(text.strip(), presets)}; allowed: {', '.join(presets)}, "
            "or weights as success=1,cost=0.2,latency=0"
        )
    weights: dict[str, float] = {}
    for part in text.split(","):
        name, _, number = (piece.strip() for piece in part.partition("="))
        if name not in WEIGHTS:
            raise ConfigError(f"preference {text!r}: weight {name!r} is unknown; allowed: {', '.join(WEIGHTS)}")
        if name in weights:
            raise ConfigError(f"preference {text!r}: weight {name} is given twice")
        try:
            weights[name] = float(number)
        except ValueError:
            raise ConfigError(f"preference {text!r}: {name} is {number!r}, not a number of at least 0") from None
    return weights
