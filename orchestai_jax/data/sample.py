"""The one type that every reader makes and every planner learns from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True, slots=True)
class PlanningSample:
    """An instruction and its gold plan.

    `dependencies` holds (producer, consumer) positions in `task_types`, producer before consumer wherever the source
    allows it. `workers`, `arguments`, `complexities` and `step_texts`, where present, have one entry a task.
    """

    id: str
    instruction: str
    task_types: tuple[str, ...]
    dependencies: tuple[tuple[int, int], ...] = ()
    workers: tuple[str | None, ...] | None = None
    step_texts: tuple[str, ...] | None = None
    arguments: tuple[Mapping[str, Any], ...] | None = None
    complexities: tuple[float, ...] | None = None
    """Measured complexity of each task in [0, 1]: its time as a share of the slowest task type's."""
    preference: tuple[float, float, float] | None = None
    """Weights of (success, cost, latency) under which `workers` are the best."""
    rewards: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        n = len(self.task_types)
        for name in ("workers", "step_texts", "arguments", "complexities"):
            entries = getattr(self, name)
            if entries is not None and len(entries) != n:
                raise ValueError(f"sample {self.id}: {name} has {len(entries)} entries for {n} tasks")
        for source, target in self.dependencies:
            if not (0 <= source < n and 0 <= target < n) or source == target:
                raise ValueError(f"sample {self.id}: dependency ({source}, {target}) is outside its {n} tasks")

    @property
    def nodes(self) -> frozenset[str]:
        """The set of task types."""
        return frozenset(self.task_types)

    @property
    def links(self) -> frozenset[tuple[str, str]]:
        """The set of (source task type, target task type)."""
        return frozenset((self.task_types[s], self.task_types[t]) for s, t in self.dependencies)
