"""The training loop: step, read the step before, log, evaluate, save; hooks, and exact resumption."""

from __future__ import annotations

import dataclasses
import math
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from orchestai_jax.checkpoint import CheckpointReader, CheckpointStore
from orchestai_jax.training.errors import TrainingDivergedError, TrainingError, TrainingInterrupted
from orchestai_jax.training.hooks import Hook
from orchestai_jax.training.interrupts import StopRequest
from orchestai_jax.training.loop_types import Batches, LoopResult, LoopSettings, Resume, TrainStep
from orchestai_jax.training.measurements import Window, read_measurements
from orchestai_jax.training.monitoring import Monitor, SilentMonitor
from orchestai_jax.training.optimizer_chain import updates_before
from orchestai_jax.training.processes import any_of_all
from orchestai_jax.training.recorder import Recorder
from orchestai_jax.training.schedules import Schedule
from orchestai_jax.training.trackers import Tracker
from orchestai_jax.training.train_state import TrainState
from orchestai_jax.training.update import SKIPPED


@dataclasses.dataclass
class _Progress:
    """What the loop must know again after a resumption, beside the train state and the data's position."""

    total_steps: int
    wall_s: float = 0.0
    best: dict[str, Any] | None = None
    """{"step", "value", "metrics"} of the best validation so far."""
    validations_since_best: int = 0
    stopped_early: bool = False
    window: Window = dataclasses.field(default_factory=Window)
    skipped: int = 0
    """Steps so far whose update was refused."""
    skipped_in_a_row: int = 0

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> _Progress:
        return cls(**{**saved, "window": Window(**saved["window"])})


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
    resume: Resume,
    metadata: Mapping[str, Any],
    assets: Mapping[str, str],
    monitor: Monitor | None = None,
    hooks: Sequence[Hook] = (),
    trackers: Callable[[int], Sequence[Tracker]] = lambda step: (),
    tokens_per_step: int | None = None,
) -> LoopResult:
    """Train until `num_epochs` are done or the validation metric no longer gets better.

    Args:
      state: where to start; with `resume` only its structure counts, if there is a checkpoint.
      train_step: see TrainStep; it must count `state.step` up by one.
      batches: the data, at its start.
      evaluate: validation metrics of a state (its parameters are the average, where one is kept); must hold
        `config.best_metric`.
      store: where checkpoints go; its best metric should be `config.best_metric`. The caller closes it.
      num_epochs: passes over the data in all.
      config: patience, intervals and batch size.
      learning_rate: the optimizer's schedule, over its updates, for the log.
      workdir: folder of `metrics.jsonl`.
      resume: go on from the store's latest checkpoint (`latest-good`: where that is damaged, from the newest one that
        is whole, and say so). The rest of the run is then the same, bit for bit, as if it had never been interrupted;
        so are the lines of metrics, their wall time aside.
      metadata: JSON, saved in each checkpoint: what is needed to build the model again.
      assets: text files, saved in each checkpoint.
      monitor: who is told (null = nobody).
      hooks: called in this order, see Hook. Without any, nothing of a run changes.
      trackers: opens who gets the lines of metrics too, given the step that the run goes on after.
      tokens_per_step: for the speed that is shown (null = samples only).

    Raises TrainingDivergedError for a measurement that is not finite, TrainingError for metrics without the best
    metric, CheckpointError for a checkpoint that cannot be written or resumed from, and TrainingInterrupted after
    Ctrl-C or SIGTERM, when the step it came in is saved.
    """
    names = [hook.name for hook in hooks]
    if len(set(names)) != len(names):
        raise TrainingError(f"hooks: two are named alike ({', '.join(names)}); each needs a name of its own")
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
        hooks,
        tokens_per_step,
    )
    if not resume and store.latest_step() is not None:
        raise TrainingError(f"{store.folder}: holds checkpoints already; resume, or give another folder")
    if resume:
        reader, faults = store.newest(good=resume == "latest-good")
        for fault in faults:
            run.monitor.note(f"passed over: {fault}")
        if reader is None:
            run.monitor.note("no checkpoint to resume from; starting at step 0")
        else:
            run.restore(reader)
    run.recorder = Recorder(workdir, run.step, run.steps_per_epoch, run.progress.wall_s, trackers)
    try:
        with StopRequest() as stop:
            return run.train(stop)
    finally:
        run.recorder.close()
        run.monitor.close()


class _Run:
    """One call of `run_loop`; to hooks it is their RunControl."""

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
        hooks: Sequence[Hook],
        tokens_per_step: int | None,
    ):
        self.state, self.train_step, self.batches, self.evaluate = state, train_step, batches, evaluate
        self.store, self.config, self.metadata, self.assets, self.monitor = store, config, metadata, assets, monitor
        self.hooks, self.tokens_per_step = tuple(hooks), tokens_per_step
        self.steps_per_epoch = batches.steps_per_epoch
        self.progress = _Progress(total_steps=num_epochs * self.steps_per_epoch)
        self.step = int(state.step)
        self.saved_step: int | None = None
        self.learning_rate = learning_rate
        self.rate = 0.0
        """Of the step that was read last."""
        self.recorder: Recorder
        self.pending: tuple[int, Mapping[str, Any]] | None = None
        """The last step's measurements, still on the device."""
        self.diagnostics: Mapping[str, Any] = {}
        """Arrays among the measurements that were read last, still on the device."""

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        return self.progress.total_steps

    def replace(self, *, train_step: TrainStep | None = None, state: TrainState | None = None) -> None:
        """See RunControl."""
        self.train_step = train_step if train_step is not None else self.train_step
        self.state = state if state is not None else self.state

    def event(self, step: int, name: str, **values: float | str) -> None:
        """See RunControl."""
        self.record(step, "event", {"event": name, **values})
        self.monitor.note(f"step {step}: {name}" + "".join(f", {key} {value}" for key, value in values.items()))

    def record(self, step: int, split: str, values: Mapping[str, float | str]) -> None:
        """See RunControl."""
        self.recorder.line(step, split, values, self.rate)

    def histogram(self, step: int, name: str, edges: np.ndarray, counts: np.ndarray) -> None:
        """See RunControl."""
        self.recorder.histogram(step, name, edges, counts)

    def restore(self, reader: CheckpointReader) -> None:
        """Go back to where the run was when it saved this checkpoint."""
        step, saved = reader.step, reader.data_state
        progress = _Progress.from_json(saved["loop"])
        if progress.total_steps != self.progress.total_steps:
            raise TrainingError(
                f"{self.store.folder}: the run was planned for {progress.total_steps} steps, now for "
                f"{self.progress.total_steps}; resume with the same data, batch_size and num_epochs"
            )
        self.step = step
        for hook in self.hooks:
            if hook.name in saved["hooks"]:
                hook.restore(self, saved["hooks"][hook.name])
        self.state = reader.restore(jax.tree.map(_abstract, self.state), subtree=None)
        self.progress, self.saved_step = progress, step
        self.batches.set_state(saved["batches"])
        self.monitor.note(f"resuming after step {step}")

    def train(self, stop: StopRequest) -> LoopResult:
        """The loop itself."""
        self.rate = self._rate(self.step + 1)
        total = self.progress.total_steps
        self.monitor.start(
            step=self.step,
            total_steps=total,
            steps_per_epoch=self.steps_per_epoch,
            samples_per_step=self.config.batch_size,
            tokens_per_step=self.tokens_per_step,
        )
        for hook in self.hooks:
            hook.on_start(self)
        while self.step < total and not self.progress.stopped_early:
            self.state, measurements = self.train_step(self.state, next(self.batches))
            self.step += 1
            self._read_pending()  # of the step before, while the device works on this one
            self.pending = (self.step, measurements)
            metrics: Mapping[str, float] = {}
            if self._is_due(self.steps_per_epoch) or self._is_due(self.config.evaluate_every_steps):
                metrics = self._validate()
            # Several processes must agree to stop, and ask one another at the lines of the log only.
            asked = jax.process_count() == 1 or self._is_due(self.config.log_every_steps)
            stops = asked and any_of_all(stop.requested)
            if metrics or self._is_due(self.config.save_every_steps) or stops:
                self._save(metrics)
            if stops:
                self.store.wait()
                self.monitor.note(f"{stop.name}: saved step {self.step}; go on with --resume")
                raise TrainingInterrupted(self.step)
        self.store.wait()
        best = self.progress.best
        if best is None:
            raise TrainingError("the run ended without a validation; num_epochs must be at least 1")
        result = LoopResult(best["step"], dict(best["metrics"]), self.step, self.progress.stopped_early)
        for hook in self.hooks:
            hook.on_end(self, result)
        return result

    def _is_due(self, every: int | None) -> bool:
        return every is not None and self.step % every == 0

    def _read_pending(self) -> None:
        """Take the measurements that wait on the device into the window, and write its line when it is full."""
        if self.pending is None:
            return
        (step, measurements), self.pending = self.pending, None
        values, self.diagnostics = read_measurements(measurements)
        progress = self.progress
        self.rate = self._rate(step)
        refused = int(values.get(SKIPPED, progress.skipped)) > progress.skipped
        if refused:
            self._count_refusal(step, values)
        else:
            progress.skipped_in_a_row = 0
            if broken := _not_finite(values):
                raise TrainingDivergedError(f"step {step}: {broken}; {self._last_good()}")
        progress.window.add(values, applied=not refused)
        if step % self.config.log_every_steps == 0 or step % self.steps_per_epoch == 0:
            self.record(step, "train", progress.window.take())
            self.recorder.system(step, self.config.batch_size, self.tokens_per_step)
        self.monitor.step(step, values, self.rate)
        for hook in self.hooks:
            hook.on_step(self, step, values)

    def _count_refusal(self, step: int, values: Mapping[str, float]) -> None:
        progress = self.progress
        progress.skipped = int(values[SKIPPED])
        progress.skipped_in_a_row += 1
        broken = _not_finite(values)
        most = self.config.skip_nonfinite_updates
        if broken and most and progress.skipped_in_a_row >= most:
            raise TrainingDivergedError(
                f"step {step}: {broken}, {progress.skipped_in_a_row} steps in a row "
                f"(skip_nonfinite_updates is {most}); {self._last_good()}"
            )
        if broken:
            self.monitor.note(f"step {step}: {broken}; the update is skipped, {progress.skipped} so far")

    def _validate(self) -> dict[str, float]:
        self._read_pending()
        metrics = {name: float(value) for name, value in self.evaluate(self.state.averaged()).items()}
        name = self.config.best_metric
        if name not in metrics:
            raise TrainingError(f"best_metric {name!r} is not among the validation metrics: {', '.join(metrics)}")
        value = metrics[name]
        if not math.isfinite(value):
            raise TrainingDivergedError(f"step {self.step}: validation {name} is {value}; {self._last_good()}")
        progress = self.progress
        sign = 1 if self.config.best_mode == "max" else -1
        is_best = progress.best is None or sign * value > sign * progress.best["value"]
        if is_best:
            progress.best = {"step": self.step, "value": value, "metrics": metrics}
        progress.validations_since_best = 0 if is_best else progress.validations_since_best + 1
        patience = self.config.early_stop_patience
        progress.stopped_early = (
            patience is not None and progress.validations_since_best >= patience and self.step < progress.total_steps
        )
        self.record(self.step, "validation", metrics)
        epoch = -(-self.step // self.steps_per_epoch)
        self.monitor.validation(epoch, metrics, is_best)
        for hook in self.hooks:
            hook.on_validation(self, metrics)
        if self.step % self.steps_per_epoch == 0:
            for hook in self.hooks:
                hook.on_epoch(self, epoch, metrics)
        if progress.stopped_early:
            self.monitor.note(f"stopping early: {name} is no better for {progress.validations_since_best} validations")
        return metrics

    def _save(self, metrics: Mapping[str, float]) -> None:
        if self.saved_step == self.step:
            return
        self._read_pending()  # nothing that is not finite is ever saved
        self.progress.wall_s = self.recorder.wall_s
        self.recorder.sync()
        self.store.save(
            self.step,
            self.state,
            data_state={
                "batches": self.batches.get_state(),
                "loop": dataclasses.asdict(self.progress),
                "hooks": {hook.name: hook.state() for hook in self.hooks},
            },
            metadata=self.metadata,
            metrics=metrics,
            assets=self.assets,
        )
        self.saved_step = self.step

    def _rate(self, step: int) -> float:
        """The learning rate of a step (from 1): that of the updates before it, of which refused ones are none."""
        updates = updates_before(step, self.progress.skipped, self.config.accumulate_steps)
        return float(self.learning_rate(updates))

    def _last_good(self) -> str:
        self.store.wait()
        latest = self.store.latest_step()
        where = f"the last good checkpoint is step {latest}" if latest is not None else "no checkpoint was saved before"
        return f"{where}; lower learning_rate or gradient_clip and train in another folder"


def _not_finite(values: Mapping[str, float]) -> str:
    """What is not finite, the loss first: `loss is nan, gradient_norm is inf`; empty where all is well."""
    broken = sorted((name for name, value in values.items() if not math.isfinite(value)), key=lambda n: n != "loss")
    return ", ".join(f"{name} is {values[name]}" for name in broken)


def _abstract(leaf: Any) -> Any:
    """A leaf without its data, so that restoring does not hold the state twice."""
    if isinstance(leaf, jax.Array):
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)
    return leaf
