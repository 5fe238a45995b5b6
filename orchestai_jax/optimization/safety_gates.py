"""Bounds of a healthy step: checked inside the compiled step, and told in words outside of it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from orchestai_jax.config import SafetyGatesConfig

LOSS, GRADIENT_NORM, COMPRESSION_ERROR = "loss", "gradient_norm", "compression_error"
SECTION = "optimization.safety_gates"
"""Of a run's configuration."""


@dataclasses.dataclass(frozen=True)
class Gate:
    """least <= measurement <= most, or below `most` where that is not allowed itself. NaN is outside of every gate."""

    measurement: str
    """Its name among a step's."""
    least: float
    most: float
    setting: str
    """The key under `optimization.safety_gates` that holds its bounds."""
    below: bool = False
    """Whether `most` itself is too much."""

    def is_kept(self, value: Any) -> Any:
        """Whether a value is inside: compared in float32, as the compiled step does."""
        xp: Any = jnp if isinstance(value, jax.Array) else np
        value = xp.asarray(value, np.float32)
        least, most = np.float32(self.least), np.float32(self.most)
        return (value >= least) & ((value < most) if self.below else (value <= most))

    def describe(self, value: float) -> str:
        """`loss 12.5 is not in [1e-08, 10] (optimization.safety_gates.loss)`."""
        bounds = f"below {self.most:g}" if self.below else f"in [{self.least:g}, {self.most:g}]"
        return f"{self.measurement} {value:.6g} is not {bounds} ({SECTION}.{self.setting})"

    def widened(self, value: float) -> str | None:
        """The assignment that would let twice this value pass (or half of it, where it is too low):
        `optimization.safety_gates.gradient_norm=[1e-06,29]`. None where no bound helps: for NaN and infinity."""
        if not math.isfinite(value):
            return None
        if self.below:
            return f"{SECTION}.{self.setting}={2 * value:.2g}"
        least, most = (self.least, 2 * value) if value > self.most else (value / 2, self.most)
        return f"{SECTION}.{self.setting}=[{least:.2g},{most:.2g}]"


def gates_of(config: SafetyGatesConfig, loss: str = LOSS) -> tuple[Gate, ...]:
    """The gates of a configuration. `loss` is the measurement that is the mean loss per decision (nats)."""
    return (
        Gate(loss, *config.loss, setting="loss"),
        Gate(GRADIENT_NORM, *config.gradient_norm, setting="gradient_norm"),
        Gate(COMPRESSION_ERROR, 0.0, config.compression_error, setting="compression_error", below=True),
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


def remedy(gates: tuple[Gate, ...], values: Mapping[str, float]) -> str:
    """What to do about the values that are outside of their gates."""
    outside = [(gate, float(values[gate.measurement])) for gate in gates if gate.measurement in values]
    outside = [(gate, value) for gate, value in outside if not bool(gate.is_kept(value))]
    widened = [gate.widened(value) for gate, value in outside]
    if any(assignment is None for assignment in widened):
        return "lower the learning rate, or look for what in the data is not finite: no bound lets such a value pass"
    wider = " ".join(filter(None, widened))
    return f"where such a step is healthy for this model, set {wider}; else lower the learning rate"
