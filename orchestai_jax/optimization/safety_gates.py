"""Bounds of a healthy step: checked inside the compiled step, and told in words outside of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from orchestai_jax.config import SafetyGatesConfig

LOSS, GRADIENT_NORM, COMPRESSION_ERROR = "loss", "gradient_norm", "compression_error"


@dataclasses.dataclass(frozen=True)
class Gate:
    """least <= measurement <= most, or below `most` where that is not allowed itself. NaN is outside of every gate."""

    measurement: str
    """Its name among a step's."""
    least: float
    most: float
    below: bool = False
    """Whether `most` itself is too much."""

    def is_kept(self, value: Any) -> Any:
        """Whether a value is inside: compared in float32, as the compiled step does."""
        xp: Any = jnp if isinstance(value, jax.Array) else np
        value = xp.asarray(value, np.float32)
        least, most = np.float32(self.least), np.float32(self.most)
        return (value >= least) & ((value < most) if self.below else (value <= most))

    def describe(self, value: float) -> str:
        """`loss 12.5 is outside [1e-08, 10]`."""
        bounds = f"below {self.most:g}" if self.below else f"in [{self.least:g}, {self.most:g}]"
        return f"{self.measurement} {value:.6g} is not {bounds}"


def gates_of(config: SafetyGatesConfig, loss: str = LOSS) -> tuple[Gate, ...]:
    """The gates of a configuration. `loss` is the measurement that is the mean loss per decision (nats)."""
    return (
        Gate(loss, *config.loss),
        Gate(GRADIENT_NORM, *config.gradient_norm),
        Gate(COMPRESSION_ERROR, 0.0, config.compression_error, below=True),
    )


def all_kept(gates: tuple[Gate, ...], measurements: Mapping[str, jax.Array]) -> jax.Array:
    """bool[]: whether every gate whose measurement is there is kept. Takes a few scalar comparisons, inside jit.

    Raises ValueError where a step does not measure loss and gradient norm: a gate that never looks guards nothing.
    """
    missing = [g.measurement for g in gates if g.measurement not in measurements and g.measurement != COMPRESSION_ERROR]
    if missing:
        raise ValueError(f"the safety gates want the measurement {missing[0]!r}; the step has {sorted(measurements)}")
    kept = jnp.ones((), bool)
    for gate in gates:
        if gate.measurement in measurements:
            kept &= gate.is_kept(measurements[gate.measurement])
    return kept


def violations(gates: tuple[Gate, ...], values: Mapping[str, float]) -> list[str]:
    """In words, with values: every gate among `values` that is not kept."""
    return [
        gate.describe(float(values[gate.measurement]))
        for gate in gates
        if gate.measurement in values and not bool(gate.is_kept(values[gate.measurement]))
    ]
