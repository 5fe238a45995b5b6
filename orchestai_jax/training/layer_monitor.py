"""The hook that logs layers' norms and histograms, and names the layers that explode or vanish."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from orchestai_jax.config import MonitoringConfig
from orchestai_jax.training.hooks import QuietHook, RunControl
from orchestai_jax.training.layer_statistics import (
    BINS,
    HISTOGRAMS,
    LOWEST_EXPONENT,
    NORMS,
    LayerStatistics,
    ratio,
)

EDGES = np.ldexp(1.0, np.arange(LOWEST_EXPONENT, LOWEST_EXPONENT + BINS + 1))
"""Of the histograms' bins, float64 [bins + 1]."""


class LayerMonitor(QuietHook):
    """Writes `layers` lines (`gradient_norm/L`, `parameter_norm/L`, `update_ratio/L` of each layer L) and histograms.

    A gradient norm over `explosion_norm`, not finite, or under `vanishing_norm` is an event that names the layer: once
    when it begins and once when it ends.
    """

    def __init__(self, statistics: LayerStatistics, config: MonitoringConfig):
        self._statistics, self._config = statistics, config
        self._faults: dict[str, str] = {}
        """Layer to `exploding` or `vanishing`."""

    @property
    def name(self) -> str:
        """`layers`."""
        return "layers"

    def on_step(self, run: RunControl, step: int, values: Mapping[str, float]) -> None:
        """Read what was measured, if this step is one that was."""
        statistics = self._statistics
        if statistics.norms_every is not None and step % statistics.norms_every == 0:
            norms = np.asarray(run.diagnostics[NORMS], np.float64)
            gradients, parameters, updates = (
                {name: float(value) for name, value in zip(statistics.names, row, strict=True)} for row in norms
            )
            lines = {
                "gradient_norm": gradients,
                "parameter_norm": parameters,
                "update_ratio": ratio(updates, parameters),
            }
            run.record(step, "layers", {f"{kind}/{n}": v for kind, of in lines.items() for n, v in of.items()})
            self._judge(run, step, gradients)
        if statistics.histograms_every is not None and step % statistics.histograms_every == 0:
            counts = np.asarray(run.diagnostics[HISTOGRAMS])
            for kind, rows in zip(("gradient", "parameter"), counts, strict=True):
                for name, row in zip(statistics.names, rows, strict=True):
                    run.histogram(step, f"{kind}_magnitude/{name}", EDGES, row)

    def _judge(self, run: RunControl, step: int, gradients: Mapping[str, float]) -> None:
        for layer, norm in gradients.items():
            fault = None
            if not math.isfinite(norm) or norm > self._config.explosion_norm:
                fault = "exploding"
            elif norm < self._config.vanishing_norm:
                fault = "vanishing"
            before = self._faults.get(layer)
            if fault == before:
                continue
            if fault is not None:
                self._faults[layer] = fault
                run.event(step, f"{fault} gradient", layer=layer, norm=norm)
            else:
                del self._faults[layer]
                run.event(step, f"gradient no longer {before}", layer=layer, norm=norm)

    def state(self) -> dict[str, Any]:
        """The layers that are at fault now."""
        return {"faults": dict(self._faults)}

    def restore(self, run: RunControl, state: Mapping[str, Any]) -> None:
        """Take them back, so that they are not told again."""
        self._faults = dict(state["faults"])
