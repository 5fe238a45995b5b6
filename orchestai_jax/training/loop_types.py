"""What the loop is given and what it gives back."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

from orchestai_jax.training.train_state import TrainState

TrainStep = Callable[[TrainState, Any], tuple[TrainState, Mapping[str, Any]]]
"""(state, batch) to the next state and measurements (scalars); jitted by the caller, the state donated."""


Resume = bool | Literal["latest", "latest-good"]
"""Whether to go on from a checkpoint: no; from the latest (True as well); from the latest one that is whole."""


class Batches(Protocol):
    """An endless iterator of batches whose position can be kept as JSON and gone back to."""

    steps_per_epoch: int

    def __next__(self) -> Any:
        """The next batch."""
        ...

    def get_state(self) -> dict[str, Any]:
        """Where it stands."""
        ...

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go back to where it stood."""
        ...


class LoopSettings(Protocol):
    """What the loop reads of a configuration."""

    @property
    def batch_size(self) -> int:
        """Samples a step."""
        ...

    @property
    def best_metric(self) -> str:
        """Validation metric by which the best checkpoint is chosen."""
        ...

    @property
    def best_mode(self) -> Literal["max", "min"]:
        """Whether that metric is better when it is higher or when it is lower."""
        ...

    @property
    def early_stop_patience(self) -> int | None:
        """Validations without a better metric before training stops."""
        ...

    @property
    def evaluate_every_steps(self) -> int | None:
        """Validate also every so many steps."""
        ...

    @property
    def save_every_steps(self) -> int | None:
        """Save also every so many steps."""
        ...

    @property
    def log_every_steps(self) -> int:
        """Steps between two lines of training metrics."""
        ...

    @property
    def accumulate_steps(self) -> int:
        """Steps whose gradients make one update."""
        ...

    @property
    def skip_nonfinite_updates(self) -> int:
        """Most updates in a row that are skipped for not being finite."""
        ...


@dataclasses.dataclass(frozen=True)
class LoopResult:
    """How a run ended."""

    best_step: int
    best_metrics: dict[str, float]
    steps: int
    """Steps done in all, those before a resumption included."""
    stopped_early: bool
