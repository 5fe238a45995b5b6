"""Coordinates the optimizations of a run: compatible sizes, safety gates, adaptation, backing off, snapshots.

It decides by what it is told and by its own `state()` alone, and touches neither arrays nor clocks, so that a run and
its resumption decide alike. `training/optimization_hook.py` acts on what it decides.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from orchestai_kernels.arrays import encoded_ratio

from orchestai_jax.config import OptimizationConfig
from orchestai_jax.optimization.optimization_state import OptimizationState
from orchestai_jax.optimization.parameter_precedence import Move, ParameterPrecedenceResolver
from orchestai_jax.optimization.safety_gates import COMPRESSION_ERROR, LOSS, gates_of, remedy, violations

OPTIMIZATIONS = ("kernel_optimizer", "semantic_compression", "inference_scaling")
"""In the order in which they are switched on; the last one is backed off first."""
NEAR_LIMIT = 0.8
"""Share of the compression error's limit above which blocks are made smaller."""
WORSE = 0.02
"""A score lower than the best by this share of it makes serving more careful."""
SMALLEST_BLOCK = 8
KEPT_EVENTS, KEPT_SNAPSHOTS = 50, 10


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What follows from a step's measurements."""

    violations: tuple[str, ...] = ()
    """In words; none for a healthy step."""
    remedy: str | None = None
    """What to do about them."""
    backed_off: str | None = None
    """The optimization that is switched off from now on."""
    stop: str | None = None
    """Why the run cannot go on."""


class OptimizationOrchestrator:
    """See the module. `config` is an OptimizationConfig, the mapping of a YAML block, or None for nothing.

    `loss` names the measurement that the loss gate looks at: the mean loss per decision, in nats. Raises pydantic's
    ValidationError for unknown keys and wrong values.
    """

    def __init__(self, config: OptimizationConfig | Mapping[str, Any] | None = None, *, loss: str = LOSS):
        if not isinstance(config, OptimizationConfig):
            config = (
                OptimizationConfig.model_validate(config) if config is not None else OptimizationConfig(enabled=False)
            )
        self.requested = config
        """As the user wrote it."""
        self.config, moves = ParameterPrecedenceResolver().resolve(config)
        """In force: sizes that fit, adapted, without what was backed off."""
        self.moves: tuple[Move, ...] = moves
        self.gates = gates_of(config.safety_gates, loss)
        self.backed_off: dict[str, str] = {}
        """Why, by name."""
        self.violations_in_a_row = 0
        self.total_violations = 0
        self.events: list[dict[str, Any]] = []
        """The last ones; each was logged too."""
        self.snapshots: list[OptimizationState] = []
        self._ignored_before = 0
        self._passed_any = False
        """Whether a step's measurements were ever inside of the gates."""
        self._best_score: float | None = None
        self._metrics: dict[str, float] = {}

    @property
    def active(self) -> tuple[str, ...]:
        """The optimizations that are on, in the order in which they were switched on."""
        if not self.config.enabled:
            return ()
        return tuple(name for name in OPTIMIZATIONS if getattr(self.config, name) is not None)

    @property
    def embedding_block(self) -> int | None:
        """Block size of encoded description vectors; None where they are not encoded."""
        compression = self.config.semantic_compression
        if compression is None or not compression.embeddings or self.incompatible():
            return None
        return compression.block_size

    def validate_parameter_compatibility(self) -> tuple[bool, list[str]]:
        """(whether everything that is on can work as configured, warnings): what was moved, what cannot work or has no
        effect. `incompatible` has the reasons by optimization."""
        warnings = [str(move) for move in self.moves]
        reasons = self.incompatible()
        warnings += [f"{name}: {reason}" for name, reason in reasons.items()]
        serving = self.config.inference_scaling
        if serving is not None and serving.candidates == 1:
            warnings.append("inference_scaling: candidates is 1, so that there is no path to select")
        return not reasons, warnings

    def incompatible(self) -> dict[str, str]:
        """Why an optimization cannot work with its parameters, by name."""
        reasons: dict[str, str] = {}
        compression = self.config.semantic_compression
        if compression is not None and encoded_ratio(compression.block_size) > compression.compression_ratio:
            reasons["semantic_compression"] = (
                f"compression_ratio {compression.compression_ratio} cannot be reached by 8-bit blocks of "
                f"{compression.block_size}, which take {encoded_ratio(compression.block_size):.4g}"
            )
        return reasons

    def validate_safety_gates(self, metrics: Mapping[str, float]) -> tuple[bool, list[str]]:
        """(whether all gates are kept, each violation in words with its value). Metrics without a gate count for
        nothing. Changes nothing; `observe` counts."""
        found = violations(self.gates, metrics)
        return not found, found

    def observe(self, step: int, metrics: Mapping[str, float]) -> Verdict:
        """Take in a step's measurements, in the order of steps.

        After `safety_gates.patience` violations in a row the last active optimization is backed off, and the count
        starts anew two steps later, when that takes effect: a step is under way already while another is observed. With
        nothing left to back off the verdict says stop.
        """
        self._metrics = {name: float(value) for name, value in metrics.items()}
        if step < self._ignored_before:
            return Verdict()
        sound, found = self.validate_safety_gates(metrics)
        if sound:
            self.violations_in_a_row, self._passed_any = 0, True
            return Verdict()
        advice = remedy(self.gates, metrics)
        self.violations_in_a_row += 1
        self.total_violations += 1
        self._note({"step": step, "event": "gate_violation", "violations": found})
        patience = self.config.safety_gates.patience
        if self.violations_in_a_row < patience:
            return Verdict(tuple(found), advice)
        ever = "" if self._passed_any else ", and none passed since the run began"
        reason = f"{self.violations_in_a_row} updates in a row were refused{ever}: {'; '.join(found)}"
        if not self.active:
            return Verdict(tuple(found), advice, stop=f"{reason}; no optimization is left to back off; {advice}")
        last = self.active[-1]
        self.back_off(last, reason, step)
        self.violations_in_a_row, self._ignored_before = 0, step + 2
        return Verdict(tuple(found), advice, backed_off=last)

    def back_off(self, optimization: str, reason: str, step: int) -> None:
        """Switch one off. Raises ValueError for one that is not on."""
        if optimization not in self.active:
            raise ValueError(f"optimization must be one that is on ({', '.join(self.active)}), got {optimization!r}")
        self.backed_off[optimization] = reason
        self.config = self.config.model_copy(update={optimization: None})
        self._note({"step": step, "event": "backed_off", "optimization": optimization, "reason": reason})

    def adapt_parameters(self, metrics: Mapping[str, float]) -> OptimizationConfig:
        """The configuration in force after an epoch with these metrics, only ever made more careful:

        - `compression_error` near its limit halves the compression's block, where the ratio allows and the tile fits;
        - a `score` (higher is better) below the best by 2 % of it halves `sparsity_threshold`, so that fewer blocks of
          the cache are dropped, and moves `path_selection_threshold` halfway to 1.
        """
        self._metrics = {name: float(value) for name, value in metrics.items()}
        config, compression = self.config, self.config.semantic_compression
        error = metrics.get(COMPRESSION_ERROR)
        if compression is not None and error is not None:
            half = compression.block_size // 2
            near = error > NEAR_LIMIT * config.safety_gates.compression_error
            if near and half >= SMALLEST_BLOCK and encoded_ratio(half) <= compression.compression_ratio:
                changed = compression.model_copy(update={"block_size": half})
                config = config.model_copy(update={"semantic_compression": changed})
        score, serving = metrics.get("score"), config.inference_scaling
        if score is not None:
            best = self._best_score
            if serving is not None and best is not None and score < best - WORSE * abs(best):
                careful = {
                    "sparsity_threshold": serving.sparsity_threshold / 2,
                    "path_selection_threshold": (1 + serving.path_selection_threshold) / 2,
                }
                config = config.model_copy(update={"inference_scaling": serving.model_copy(update=careful)})
            self._best_score = score if best is None else max(best, score)
        config, moves = ParameterPrecedenceResolver().resolve(config)
        self.moves += moves
        if config != self.config:
            self._note({"event": "adapted", "config": config.model_dump(mode="json")})
        self.config = config
        return config

    def snapshot_configuration(self, epoch: int, timestamp: float) -> OptimizationState:
        """What is in force now; kept for the checkpoints' metadata (the last ten)."""
        on = {name: getattr(self.config, name) if name in self.active else None for name in OPTIMIZATIONS}
        state = OptimizationState(
            on["kernel_optimizer"],
            on["semantic_compression"],
            on["inference_scaling"],
            epoch,
            timestamp,
            dict(self._metrics),
        )
        self.snapshots = [*self.snapshots, state][-KEPT_SNAPSHOTS:]
        return state

    def get_checkpoint_metadata(self) -> dict[str, Any]:
        """JSON: what was asked for, what is in force, what was moved or backed off and why, events and snapshots."""
        return {
            "requested": self.requested.model_dump(mode="json"),
            "in_force": self.config.model_dump(mode="json"),
            "active": list(self.active),
            "moves": [dataclasses.asdict(move) for move in self.moves],
            "backed_off": dict(self.backed_off),
            "violations": self.total_violations,
            "events": list(self.events),
            "snapshots": [snapshot.to_json() for snapshot in self.snapshots],
        }

    def state(self) -> dict[str, Any]:
        """JSON: all that later decisions depend on, and the metadata."""
        return {
            **self.get_checkpoint_metadata(),
            "violations_in_a_row": self.violations_in_a_row,
            "ignored_before": self._ignored_before,
            "passed_any": self._passed_any,
            "best_score": self._best_score,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to what `state` gave. Raises ValueError for the state of another configuration."""
        requested = OptimizationConfig.model_validate(state["requested"])
        if requested != self.requested:
            raise ValueError("the optimization state was saved with another `optimization` block; resume with the same")
        self.config = OptimizationConfig.model_validate(state["in_force"])
        self.moves = tuple(Move(**move) for move in state["moves"])
        self.backed_off = dict(state["backed_off"])
        self.total_violations = int(state["violations"])
        self.events = list(state["events"])
        self.snapshots = [OptimizationState.from_json(value) for value in state["snapshots"]]
        self.violations_in_a_row = int(state["violations_in_a_row"])
        self._ignored_before = int(state["ignored_before"])
        self._passed_any = bool(state.get("passed_any", True))  # older checkpoints do not say
        self._best_score = state["best_score"]

    def _note(self, event: dict[str, Any]) -> None:
        self.events = [*self.events, event][-KEPT_EVENTS:]


def in_force(metadata: Mapping[str, Any]) -> OptimizationConfig | None:
    """The configuration in force when `get_checkpoint_metadata` was saved; None where there is none."""
    return OptimizationConfig.model_validate(metadata["in_force"]) if metadata else None
