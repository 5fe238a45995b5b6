"""What the loop calls while it trains: a fixed list of hooks, each with its own data in the checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np

from orchestai_jax.training.loop_types import LoopResult, TrainStep
from orchestai_jax.training.monitoring import Monitor
from orchestai_jax.training.train_state import TrainState


@runtime_checkable
class RunControl(Protocol):
    """What a hook may see and change of the run that it is in."""

    state: TrainState
    """After the step that was started last; its arrays are donated to the next step, so keep none of them."""
    train_step: TrainStep
    monitor: Monitor
    diagnostics: Mapping[str, Any]
    """Arrays among the measurements that `on_step` is told of, still on the device: read them at intervals only."""

    @property
    def step(self) -> int:
        """Steps that are started; the measurements of the last one may still be on the device."""
        ...

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        ...

    @property
    def steps_per_epoch(self) -> int:
        """Steps of one pass over the data."""
        ...

    def replace(self, *, train_step: TrainStep | None = None, state: TrainState | None = None) -> None:
        """Go on from the next step with another step function, or another state (of other structure, if need be)."""
        ...

    def event(self, step: int, name: str, **values: float | str) -> None:
        """Write a line of split `event` into metrics.jsonl, and tell the monitor."""
        ...

    def record(self, step: int, split: str, values: Mapping[str, float | str]) -> None:
        """Write a line of a split of its own into metrics.jsonl, and give it to the trackers."""
        ...

    def histogram(self, step: int, name: str, edges: np.ndarray, counts: np.ndarray) -> None:
        """Give a histogram (counts [bins] between edges [bins + 1]) to the trackers."""
        ...


class Hook(Protocol):
    """Called by the loop, in the order of the list, from the loop's thread.

    A step's order: the step is started; measurements of the step before are read, logged, and go to `on_step`; where it
    is due validation, its log line and `on_validation`; at the end of an epoch `on_epoch`; then the save. So that a
    run and its resumption are the same, a hook decides by what it is told and by its `state()` only.
    """

    @property
    def name(self) -> str:
        """The key of its data in a checkpoint; no two hooks of a run share one."""
        ...

    def on_start(self, run: RunControl) -> None:
        """Before the first step, or the first after a resumption (`restore` came before)."""
        ...

    def on_step(self, run: RunControl, step: int, values: Mapping[str, float]) -> None:
        """The measurements of a step, one step late. To end the run, raise TrainingDivergedError with the reason."""
        ...

    def on_validation(self, run: RunControl, metrics: Mapping[str, float]) -> None:
        """After each validation, before the save."""
        ...

    def on_epoch(self, run: RunControl, epoch: int, metrics: Mapping[str, float]) -> None:
        """After the validation at the end of an epoch (from 1)."""
        ...

    def on_end(self, run: RunControl, result: LoopResult) -> None:
        """The run has reached its end; not called when it is interrupted or fails."""
        ...

    def state(self) -> dict[str, Any]:
        """JSON that goes into each checkpoint."""
        ...

    def restore(self, run: RunControl, state: Mapping[str, Any]) -> None:
        """What `state` gave. Comes before the arrays are read, so that `run.replace` can give the state the
        structure that it had when it was saved. Not called for a checkpoint without this hook's data."""
        ...


class QuietHook:
    """A hook that does nothing, to inherit from; `name` is the class's."""

    @property
    def name(self) -> str:
        """The key of its data in a checkpoint."""
        return type(self).__name__

    def on_start(self, run: RunControl) -> None:
        """Do nothing."""

    def on_step(self, run: RunControl, step: int, values: Mapping[str, float]) -> None:
        """Do nothing."""

    def on_validation(self, run: RunControl, metrics: Mapping[str, float]) -> None:
        """Do nothing."""

    def on_epoch(self, run: RunControl, epoch: int, metrics: Mapping[str, float]) -> None:
        """Do nothing."""

    def on_end(self, run: RunControl, result: LoopResult) -> None:
        """Do nothing."""

    def state(self) -> dict[str, Any]:
        """Nothing to keep."""
        return {}

    def restore(self, run: RunControl, state: Mapping[str, Any]) -> None:
        """Nothing to take back."""
