"""The optimization orchestrator in the training loop: builds the steps that it wants, and acts on what it decides."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import time
from collections.abc import Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import optax
from orchestai_kernels.arrays import BlockArray
from orchestai_kernels.dispatch import overridden

from orchestai_jax.config import OptimizationConfig
from orchestai_jax.optimization import (
    OPTIMIZATIONS,
    OptimizationOrchestrator,
    all_kept,
    calls_of,
    detect_and_tune,
    encoded_moments,
    with_encoding,
)
from orchestai_jax.optimization.safety_gates import COMPRESSION_ERROR
from orchestai_jax.planner.encoded_vectors import decode_vectors
from orchestai_jax.training.errors import TrainingDivergedError
from orchestai_jax.training.hooks import QuietHook, RunControl
from orchestai_jax.training.loop_types import TrainStep
from orchestai_jax.training.placement import Keep, Placement
from orchestai_jax.training.train_state import TrainState
from orchestai_jax.training.update import Accept

RECORDS, REPORT = "kernels", "report.json"
"""In the work folder: the tuned records of the run, and what was found."""

ON_A_MESH = (
    "on a mesh each call is cut over the devices, and kernels are measured whole on one: what was found would not be "
    "what runs"
)
"""Why kernels are not tuned there."""


class MakeStep(Protocol):
    """Builds the jitted step of an optimizer, a gate, and where the next state lies."""

    def __call__(
        self, optimizer: optax.GradientTransformation, accept: Accept | None = None, *, keep: Keep | None = None
    ) -> TrainStep:
        """See `make_train_step` of the language model."""
        ...


class OptimizationHook(QuietHook):
    """A hook and the step function that goes with it.

    What is decided from the measurements of step k takes effect with step k + 2: when they are read, k + 1 is under
    way, or, where a save had them read early, it might be. So a run and its resumption change over at the same step.

    Args:
      orchestrator: decides.
      optimizer: the run's, without optimizations.
      make_step: builds the train step.
      workdir: where the tuned kernels' records go.
      placement: where the run's arrays lie. On a mesh encoded moments lie whole on every device, and kernels are not
        tuned: that is backed off at the start, with the reason.
    """

    def __init__(
        self,
        orchestrator: OptimizationOrchestrator,
        optimizer: optax.GradientTransformation,
        make_step: MakeStep,
        workdir: str | pathlib.Path,
        placement: Placement,
    ):
        self._placement = placement
        self.orchestrator, self._plain, self._make_step = orchestrator, optimizer, make_step
        self._records = (pathlib.Path(workdir) / RECORDS).absolute()
        self._start_events: list[tuple[str, dict[str, str]]] = []
        _, warnings = orchestrator.validate_parameter_compatibility()
        self._start_events += [("compatibility", {"warning": warning}) for warning in warnings]
        for name, reason in orchestrator.incompatible().items():
            self._leave_out(name, reason, 0)
        self._fit_mesh(0)
        self._running = orchestrator.config
        """What the step under way was built for; the orchestrator's may be ahead of it."""
        self._switch_at = 0
        """The first step that the orchestrator's configuration holds for."""
        self._worst_error = 0.0
        """Largest compression error since the last epoch."""
        self._started = 0
        self._step: TrainStep | None = None
        self._run: RunControl | None = None

    @property
    def name(self) -> str:
        """`optimization`."""
        return "optimization"

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """The optimizer of the step under way."""
        block = _moment_block(self._running)
        return self._plain if block is None else encoded_moments(self._plain, block)

    def train_step(self, state: TrainState, batch: Any) -> tuple[TrainState, Mapping[str, Any]]:
        """The step in force, see TrainStep. Changes over to another one, and the state with it, where it is time."""
        self._started += 1
        wanted = self.orchestrator.config
        if wanted != self._running and self._started >= self._switch_at:
            self._running, self._step = wanted, None
            state = self._fitted(state)
        if self._step is None:
            self._tune(state, batch)
            self._step = self._make_step(self.optimizer, self._accept, keep=self._placement.keep(state, self.optimizer))
        with self._kernels():
            return self._step(state, batch)

    def on_start(self, run: RunControl) -> None:
        """Tell what does not fit; take over the count of steps."""
        self._run, self._started = run, run.step
        for name, values in self._start_events:
            run.event(max(run.step, 1), name, **values)
        self._start_events = []

    def on_step(self, run: RunControl, step: int, values: Mapping[str, float]) -> None:
        """Gates. Raises TrainingDivergedError, with the reason, where no optimization is left to back off."""
        self._worst_error = max(self._worst_error, values.get(COMPRESSION_ERROR, 0.0))
        verdict = self.orchestrator.observe(step, values)
        if verdict.violations:
            told = {"violations": "; ".join(verdict.violations), "remedy": verdict.remedy or ""}
            run.event(step, "gate_violation", **told)
        if verdict.backed_off is not None:
            self._switch_at = step + 2
            reason = self.orchestrator.backed_off[verdict.backed_off]
            run.event(step, "backed_off", optimization=verdict.backed_off, reason=reason)
        if verdict.stop is not None:
            raise TrainingDivergedError(f"step {step}: {verdict.stop}")

    def on_epoch(self, run: RunControl, epoch: int, metrics: Mapping[str, float]) -> None:
        """Adaptation and a snapshot."""
        before, pending = self.orchestrator.config, self.orchestrator.config != self._running
        shown = {**metrics, COMPRESSION_ERROR: self._worst_error} if _moment_block(before) is not None else metrics
        after = self.orchestrator.adapt_parameters(shown)
        self._worst_error = 0.0
        if after != before:
            self._switch_at = max(self._switch_at, run.step + 1) if pending else run.step + 1
            run.event(run.step, "adapted", **_changes(before, after))
        self.orchestrator.snapshot_configuration(epoch, time.time())

    def state(self) -> dict[str, Any]:
        """JSON for the checkpoint."""
        return {
            "orchestrator": self.orchestrator.state(),
            "running": self._running.model_dump(mode="json"),
            "switch_at": self._switch_at,
            "worst_error": self._worst_error,
        }

    def restore(self, run: RunControl, state: Mapping[str, Any]) -> None:
        """Take all of it back, and give the run's state the structure that it was saved with."""
        self.orchestrator.restore(state["orchestrator"])
        self._running, self._step = OptimizationConfig.model_validate(state["running"]), None
        self._switch_at, self._worst_error = int(state["switch_at"]), float(state["worst_error"])
        self._start_events = []
        self._fit_mesh(run.step)
        if self._placement.mesh is not None:
            self._running = self._running.model_copy(update={"kernel_optimizer": None})
        run.replace(state=self._fitted(run.state))

    def _leave_out(self, name: str, reason: str, step: int) -> None:
        """Back an optimization off before the first step."""
        self.orchestrator.back_off(name, reason, step)
        self._start_events.append(("backed_off", {"optimization": name, "reason": reason}))

    def _fit_mesh(self, step: int) -> None:
        """Leave out what cannot work on a mesh."""
        if self._placement.mesh is not None and "kernel_optimizer" in self.orchestrator.active:
            self._leave_out("kernel_optimizer", ON_A_MESH, step)

    def _accept(self, measurements: Mapping[str, jax.Array]) -> jax.Array:
        return all_kept(self.orchestrator.gates, measurements)

    def _fitted(self, state: TrainState) -> TrainState:
        """The state with moments and catalog vectors kept as the step under way keeps them."""
        opt_state = with_encoding(state.opt_state, _moment_block(self._running))
        params = state.params
        catalog = params.get("catalog")
        if catalog is not None and self._running.semantic_compression is None:
            vectors = catalog["vectors"]
            if isinstance(vectors, BlockArray):
                params = {**params, "catalog": {"vectors": jnp.asarray(decode_vectors(vectors))}}
        fitted = state.replace(opt_state=opt_state, params=params)  # type: ignore[attr-defined]
        return self._placement.place_state(fitted, self.optimizer)

    def _kernels(self) -> contextlib.AbstractContextManager[Any]:
        if self._running.kernel_optimizer is None:
            return contextlib.nullcontext()
        return overridden(records=self._records)

    def _tune(self, state: TrainState, batch: Any) -> None:
        """Measure the kernels at the first step's shapes; a work folder that has its records keeps them."""
        config = self._running.kernel_optimizer
        if config is None or (self._records / REPORT).exists():
            return
        step = self._make_step(self.optimizer, self._accept)
        report = detect_and_tune(calls_of(step, state, batch), config, self._records)
        self._records.mkdir(parents=True, exist_ok=True)
        unfinished = self._records / f"{REPORT}.tmp"
        unfinished.write_text(json.dumps(report.to_json(), indent=1) + "\n", encoding="utf-8")
        os.replace(unfinished, self._records / REPORT)
        if self._run is not None:
            measured = sum(found.trials > 0 for found in report.tuned)
            self._run.monitor.note(
                f"kernels: {len(report.tuned)} calls of the model, {measured} with a choice, "
                f"measured in {report.seconds:.1f} s on {report.device}"
            )


def _moment_block(config: OptimizationConfig) -> int | None:
    """The block size of encoded moments; None where they are not encoded."""
    compression = config.semantic_compression
    return compression.block_size if compression is not None and compression.optimizer_moments else None


def _changes(before: OptimizationConfig, after: OptimizationConfig) -> dict[str, str]:
    """`section.field` to `was -> is`."""
    changes: dict[str, str] = {}
    for section in OPTIMIZATIONS:
        was, now = getattr(before, section), getattr(after, section)
        if was is None or now is None:
            continue
        for field in type(was).model_fields:
            if getattr(was, field) != getattr(now, field):
                changes[f"{section}.{field}"] = f"{getattr(was, field)} -> {getattr(now, field)}"
    return changes
