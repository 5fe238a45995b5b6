"""Which checkpoints of a run are kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import orbax.checkpoint as ocp

from orchestai_jax.checkpoint.reader import best_first


@dataclasses.dataclass(frozen=True)
class NewestAndBest(ocp.checkpoint_managers.PreservationPolicy):
    """Keeps the newest `keep_last`, the best `keep_best` (the earliest of equals), and multiples of `keep_every`."""

    keep_last: int
    keep_best: int = 1
    keep_every: int | None = None

    def should_preserve(
        self,
        checkpoints: Sequence[ocp.checkpoint_managers.PolicyCheckpointInfo],
        *,
        context: ocp.checkpoint_managers.PreservationContext,
    ) -> Sequence[bool]:
        """One answer a checkpoint, in their order."""
        del context
        kept = set(sorted(info.step for info in checkpoints)[-self.keep_last :])
        kept |= set(best_first({info.step: _selection(info.metrics) for info in checkpoints})[: self.keep_best])
        if self.keep_every is not None:
            kept |= {info.step for info in checkpoints if info.step % self.keep_every == 0}
        return [info.step in kept for info in checkpoints]


def _selection(metrics: Mapping[str, Any] | None) -> tuple[float | None, str]:
    return (metrics["value"], metrics["mode"]) if metrics else (None, "max")
