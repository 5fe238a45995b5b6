"""The training loop: step, read the step before, log, evaluate, save; and exact resumption."""

from __future__ import annotations

import dataclasses
import math
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import jax
import numpy as np

from orchestai_jax.checkpoint import CheckpointStore
from orchestai_jax.training.errors import TrainingDivergedError, TrainingError, TrainingInterrupted
from orchestai_jax.training.interrupts import StopRequest
from orchestai_jax.training.metrics_log import METRICS_FILE, MetricsLog
from orchestai_jax.training.monitoring import Monitor, SilentMonitor
from orchestai_jax.training.schedules import Schedule
from orchestai_jax.training.train_state import TrainState

TrainStep = Callable[[TrainState, Any], tuple[TrainState, Mapping[str, Any]]]
"""(state, batch) to the next state and measurements (scalars); jitted by the caller, the state donated."""


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
        """Validation metric (higher is better) by which the best checkpoint is chosen."""
        ...

    @property
    def early_stop_patience(self) -> int | None:
        """Validations without a better metric before training stops."""
        ...

    @property
    def save_every_steps(self) -> int | None:
        """Save also every so many steps."""
        ...

    @property
    def log_every_steps(self) -> int:
        """Steps between two lines of training metrics."""
        ...


@dataclasses.dataclass(frozen=True)
class LoopResult:
    """How a run ended."""

    best_step: int
    best_metrics: dict[str, float]
    steps: int
    """Steps done in all, those before a resumption included."""
    stopped_early: bool


@dataclasses.dataclass
class _Progress:
    """What the loop must know again after a resumption, beside the train state and the data's position."""

    total_steps: int
    wall_s: float = 0.0
    best: dict[str, Any] | None = None
    """{"step", "value", "metrics"} of the best validation so far."""
    epochs_since_best: int = 0
    stopped_early: bool = False
    sums: dict[str, float] = dataclasses.field(default_factory=dict)
    """Sums of the measurements since the last line of metrics, of `count` steps."""
    count: int = 0


def run_loop(
    *,
    state: TrainState,
    train_step: TrainStep,
    batches: Batches,
    evaluate: Callable[[TrainState], Mapping[str, float]],
    store: CheckpointStore,
    num_epochs: int,
    config: LoopSettings,
    learning_rate: Schedule,
    workdir: str | pathlib.Path,
    resume: bool,
    metadata: Mapping[str, Any],
    assets: Mapping[str, str],
    monitor: Monitor | None = None,
) -> LoopResult:
    """Train until `num_epochs` are done or the validation metric stops rising.

    Args:
      state: where to start; with `resume` only its structure counts, if there is a checkpoint.
      train_step: see TrainStep; it must count `state.step` up by one.
      batches: the data, at its start.
      evaluate: validation metrics of a state; must hold `config.best_metric` (higher is better).
      store: where checkpoints go; its best metric should be `config.best_metric`. The caller closes it.
      num_epochs: passes over the data in all.
      config: patience, intervals and batch size.
      learning_rate: the schedule, for the log.
      workdir: folder of `metrics.jsonl`.
      resume: go on from the store's latest checkpoint. The rest of the run is then the same, bit for bit, as if it had
        never been interrupted; so are the lines of metrics, their wall time aside.
      metadata: JSON, saved in each checkpoint: what is needed to build the model again.
      assets: text files, saved in each checkpoint.
      monitor: who is told (null = nobody).

    Raises TrainingDivergedError for a measurement that is not finite, TrainingError for metrics without the best
    metric, CheckpointError for a checkpoint that cannot be written or resumed from, and TrainingInterrupted after
    Ctrl-C or SIGTERM, when the step it came in is saved.
    """
    run = _Run(
        state,
        train_step,
        batches,
        evaluate,
        store,
        num_epochs,
        config,
        learning_rate,
        metadata,
        assets,
        monitor or SilentMonitor(),
    )
    path = pathlib.Path(workdir) / METRICS_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    latest = store.latest_step()
    if not resume and latest is not None:
        raise TrainingError(f"{store.folder}: holds checkpoints already; resume, or give another folder")
    if resume and latest is not None:
        run.restore(latest)
    elif resume:
        run.monitor.note("no checkpoint to resume from; starting at step 0")
    run.log = MetricsLog.resumed_at(path, run.step)
    try:
        with StopRequest() as stop:
            return run.train(stop)
    finally:
        run.log.close()
        run.monitor.close()


class _Run:
    def __init__(
        self,
        state: TrainState,
        train_step: TrainStep,
        batches: Batches,
        evaluate: Callable[[TrainState], Mapping[str, float]],
        store: CheckpointStore,
        num_epochs: int,
        config: LoopSettings,
        learning_rate: Schedule,
        metadata: Mapping[str, Any],
        assets: Mapping[str, str],
        monitor: Monitor,
    ):
        self.state, self.train_step, self.batches, self.evaluate = state, train_step, batches, evaluate
        self.store, self.config, self.metadata, self.assets, self.monitor = store, config, metadata, assets, monitor
        self.steps_per_epoch = batches.steps_per_epoch
        self.progress = _Progress(total_steps=num_epochs * self.steps_per_epoch)
        self.step = int(state.step)
        self.saved_step: int | None = None
        self.learning_rate = learning_rate
        self.log: MetricsLog
        self.pending: tuple[int, Mapping[str, Any]] | None = None
        """The last step's measurements, still on the device."""
        self.started = time.monotonic()

    def restore(self, step: int) -> None:
        """Go back to where the run was when it saved this step."""
        abstract = jax.tree.map(_abstract, self.state)
        restored = self.store.restore(step, abstract)
        progress = _Progress(**restored.data_state["loop"])
        if progress.total_steps != self.progress.total_steps:
            raise TrainingError(
                f"{self.store.folder}: the run was planned for {progress.total_steps} steps, now for "
                f"{self.progress.total_steps}; resume with the same data, batch_size and num_epochs"
            )
        self.state, self.progress, self.step, self.saved_step = restored.state, progress, step, step
        self.batches.set_state(restored.data_state["batches"])
        self.monitor.note(f"resuming after step {step}")

    def train(self, stop: StopRequest) -> LoopResult:
        """The loop itself."""
        self.started = time.monotonic() - self.progress.wall_s
        total = self.progress.total_steps
        self.monitor.start(
            step=self.step,
            total_steps=total,
            steps_per_epoch=self.steps_per_epoch,
            samples_per_step=self.config.batch_size,
        )
        while self.step < total and not self.progress.stopped_early:
            self.state, measurements = self.train_step(self.state, next(self.batches))
            self.step += 1
            self._read_pending()  # of the step before, while the device works on this one
            self.pending = (self.step, measurements)
            metrics: Mapping[str, float] = {}
            if self.step % self.steps_per_epoch == 0:
                metrics = self._validate()
            every = self.config.save_every_steps
            if metrics or (every is not None and self.step % every == 0) or stop.requested:
                self._save(metrics)
            if stop.requested:
                self.store.wait()
                self.monitor.note(f"{stop.name}: saved step {self.step}; go on with --resume")
                raise TrainingInterrupted(self.step)
        self.store.wait()
        best = self.progress.best
        if best is None:
            raise TrainingError("the run ended without a validation; num_epochs must be at least 1")
        return LoopResult(best["step"], dict(best["metrics"]), self.step, self.progress.stopped_early)

    def _read_pending(self) -> None:
        """Take the measurements that wait on the device into the window, and write its line when it is full."""
        if self.pending is None:
            return
        step, measurements = self.pending
        self.pending = None
        values = {name: float(np.asarray(value)) for name, value in measurements.items()}
        for name, value in values.items():
            if not math.isfinite(value):
                raise TrainingDivergedError(f"step {step}: {name} is {value}; {self._last_good()}")
        rate = float(self.learning_rate(step - 1))
        progress = self.progress
        progress.sums = {name: progress.sums.get(name, 0.0) + value for name, value in values.items()}
        progress.count += 1
        if step % self.config.log_every_steps == 0 or step % self.steps_per_epoch == 0:
            means = {name: total / progress.count for name, total in progress.sums.items()}
            self._write(step, "train", means, rate)
            progress.sums, progress.count = {}, 0
        self.monitor.step(step, values, rate)

    def _validate(self) -> dict[str, float]:
        self._read_pending()
        metrics = {name: float(value) for name, value in self.evaluate(self.state).items()}
        name = self.config.best_metric
        if name not in metrics:
            raise TrainingError(f"best_metric {name!r} is not among the validation metrics: {', '.join(metrics)}")
        value = metrics[name]
        if not math.isfinite(value):
            raise TrainingDivergedError(f"step {self.step}: validation {name} is {value}; {self._last_good()}")
        progress = self.progress
        is_best = progress.best is None or value > progress.best["value"]
        if is_best:
            progress.best = {"step": self.step, "value": value, "metrics": metrics}
        progress.epochs_since_best = 0 if is_best else progress.epochs_since_best + 1
        patience = self.config.early_stop_patience
        progress.stopped_early = (
            patience is not None and progress.epochs_since_best >= patience and self.step < progress.total_steps
        )
        self._write(self.step, "validation", metrics, float(self.learning_rate(self.step - 1)))
        self.monitor.validation(self.step // self.steps_per_epoch, metrics, is_best)
        if progress.stopped_early:
            self.monitor.note(f"stopping early: {name} has not risen for {progress.epochs_since_best} epochs")
        return metrics

    def _save(self, metrics: Mapping[str, float]) -> None:
        if self.saved_step == self.step:
            return
        self._read_pending()  # nothing that is not finite is ever saved
        self.progress.wall_s = time.monotonic() - self.started
        self.log.sync()
        self.store.save(
            self.step,
            self.state,
            data_state={"batches": self.batches.get_state(), "loop": dataclasses.asdict(self.progress)},
            metadata=self.metadata,
            metrics=metrics,
            assets=self.assets,
        )
        self.saved_step = self.step

    def _write(self, step: int, split: str, values: Mapping[str, float], rate: float) -> None:
        self.log.write(
            step=step,
            epoch=(step - 1) // self.steps_per_epoch + 1,
            split=split,
            values=values,
            learning_rate=rate,
            wall_s=time.monotonic() - self.started,
        )

    def _last_good(self) -> str:
        self.store.wait()
        latest = self.store.latest_step()
        where = f"the last good checkpoint is step {latest}" if latest is not None else "no checkpoint was saved before"
        return f"{where}; lower learning_rate or gradient_clip and train in another folder"


def _abstract(leaf: Any) -> Any:
    """A leaf without its data, so that restoring does not hold the state twice."""
    if isinstance(leaf, jax.Array):
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)
    return leaf
