"""Vectors of the training instructions for a planner whose past plans vote: made anew at each validation."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Float

from orchestai_jax.data import PlanningSample, Tokenizer, bucket_length
from orchestai_jax.planner.model import ModelSpec, Parameters, build_structure, merge_parameters
from orchestai_jax.planner.past_plans import PastPlans, PlanMemory, instruction_vectors
from orchestai_jax.training.hooks import QuietHook, RunControl
from orchestai_jax.training.placement import Placement
from orchestai_jax.training.planning_data import TRAINING_BUCKET, PlanningData
from orchestai_jax.training.train_state import TrainState
from orchestai_jax.workflow import Catalog

KEPT_AS = "past"
"""Where the vectors lie in the parameters of a state."""

Vectors = Float[np.ndarray, "_ V"]
_ROWS = 32


@dataclasses.dataclass(frozen=True)
class PastReadings:
    """Past plans, and who reads their instructions."""

    memory: PlanMemory
    read: Callable[[Any], Vectors]
    """The vectors of the memory's instructions, given a state's parameters."""
    of_validation: Vectors | None = None
    """Those of the validation instructions, where planning them here would not give them."""


class PastPlanVectors(QuietHook):
    """The past plans of a training; as a hook it puts the vectors of each validation into the state, and so into the
    checkpoint."""

    def __init__(self, readings: PastReadings, catalog: Catalog, max_tasks: int, placement: Placement):
        self.memory, self._read = readings.memory, readings.read
        self._catalog, self._max_tasks, self._placement = catalog, max_tasks, placement
        self._vectors: np.ndarray | None = None

    def at_start(self, width: int) -> dict[str, jax.Array]:
        """What the state holds before the first validation: zeros, which do not vote."""
        return {"vectors": jnp.zeros((len(self.memory.ids), width), jnp.float16)}

    def over_catalog(self, state: TrainState) -> PastPlans:
        """The past plans as a planner with this state has them."""
        self._vectors = self._read(state.params).astype(np.float16)
        return self.memory.over(self._catalog.index, self._vectors, self._max_tasks)

    def on_validation(self, run: RunControl, metrics: Mapping[str, float]) -> None:
        """Put the vectors that the validation asked for into the state."""
        if self._vectors is not None:
            # where the old ones lie, so that the step is not compiled anew
            place = run.state.params[KEPT_AS]["vectors"].sharding
            vectors = self._placement.everywhere(jax.device_put(self._vectors, place))
            params = {**run.state.params, KEPT_AS: {"vectors": vectors}}
            run.replace(state=run.state.replace(params=params))  # type: ignore[attr-defined]


def past_readings(
    network: tuple[ModelSpec, nnx.GraphDef, Parameters, Tokenizer],
    train: PlanningData,
    validation: PlanningData,
    batch_size: int,
    earlier: tuple[PlanMemory, Vectors] | None,
    placement: Placement,
) -> PastReadings:
    """The past plans of a training.

    They are the training samples'. Where the encoder stays as it is vectors never change, and `earlier` ones (those of
    the planner that training starts from) are carried over.
    """
    spec, graphdef, parameters, tokenizer = network
    if not spec.encoder_is_frozen:
        return PastReadings(PlanMemory.of(train.samples), reader_of(graphdef, train, batch_size, placement))
    reader = FrozenReader(spec, parameters, tokenizer)
    memory, vectors = carried_over(earlier, train.samples, reader)
    return PastReadings(memory, lambda params: vectors, reader([s.instruction for s in validation.samples]))


def reader_of(
    graphdef: nnx.GraphDef, data: PlanningData, batch_size: int, placement: Placement
) -> Callable[[Any], Vectors]:
    """Makes the vectors of laid-out instructions by a state's parameters."""

    @jax.jit
    def vectors_of(params: Any, tokens: jax.Array, mask: jax.Array) -> jax.Array:
        model = merge_parameters(graphdef, {**params["trainable"], **params["frozen"]})
        lower = model.lower(tokens, mask) if tokens.ndim == 2 else tokens
        return placement.gather(instruction_vectors(lower, model.upper(lower, mask), mask))

    def read(params: Any) -> Vectors:
        order = sorted(range(len(data.samples)), key=lambda i: data.lengths[i])
        found: list[np.ndarray] = [np.zeros(0)] * len(order)
        for start in range(0, len(order), batch_size):
            indices = order[start : start + batch_size]
            rows = indices + indices[-1:] * (batch_size - len(indices))
            laid_out = data.instructions(rows, bucket_length(data.lengths[indices[-1]], TRAINING_BUCKET))
            vectors = np.asarray(vectors_of(params, *placement.batch(laid_out, batch_size)))
            for i, vector in zip(indices, vectors, strict=False):
                found[i] = vector
        return np.stack(found)

    return read


class FrozenReader:
    """Makes the vectors of texts by an encoder that a training leaves as it is: as it will be planned with, its lower
    layers are those that the first training left alone."""

    def __init__(self, spec: ModelSpec, parameters: Parameters, tokenizer: Tokenizer):
        self._spec = dataclasses.replace(spec, encoder_is_frozen=False)
        self._parameters, self._tokenizer = parameters, tokenizer
        graphdef = build_structure(self._spec)[0]

        @jax.jit
        def vectors_of(parameters: Parameters, ids: jax.Array, mask: jax.Array) -> jax.Array:
            model = merge_parameters(graphdef, parameters)
            lower = model.lower(ids, mask)
            return instruction_vectors(lower, model.upper(lower, mask), mask)

        self._vectors_of = vectors_of

    def __call__(self, texts: Sequence[str]) -> Vectors:
        """Their vectors."""
        most = min(self._spec.planner.encoder.max_tokens, self._spec.encoder.max_positions)
        token_ids = self._tokenizer.encode_batch(list(texts), most)
        found = np.zeros((len(texts), 2 * self._spec.encoder.hidden_size), np.float32)
        order = sorted(range(len(texts)), key=lambda i: len(token_ids[i]))
        for start in range(0, len(order), _ROWS):
            indices = order[start : start + _ROWS]
            length = bucket_length(len(token_ids[indices[-1]]), TRAINING_BUCKET)
            ids, mask = np.zeros((_ROWS, length), np.int32), np.zeros((_ROWS, length), bool)
            mask[:, 0] = True  # rows that fill the batch up; softmax wants one real token
            for row, i in enumerate(indices):
                ids[row, : len(token_ids[i])] = token_ids[i]
                mask[row, : len(token_ids[i])] = True
            found[indices] = np.asarray(self._vectors_of(self._parameters, ids, mask))[: len(indices)]
        return found


def carried_over(
    earlier: tuple[PlanMemory, Vectors] | None,
    samples: Sequence[PlanningSample],
    reader: Callable[[Sequence[str]], Vectors],
) -> tuple[PlanMemory, Vectors]:
    """The past plans of the planner that a training starts from, and those of samples that are not among them."""
    kept, vectors = earlier if earlier is not None else (PlanMemory((), ()), None)
    known = set(zip(kept.ids, kept.plans, strict=True))
    new = [s for s in samples if (s.id, s.task_types) not in known]
    fresh, of_new = PlanMemory.of(new), reader([s.instruction for s in new])
    if vectors is None:
        return fresh, of_new
    corrected = set(fresh.ids)  # what has another plan now no longer votes for the old one
    rows = [i for i, name in enumerate(kept.ids) if name not in corrected]
    memory = PlanMemory(tuple(kept.ids[i] for i in rows) + fresh.ids, tuple(kept.plans[i] for i in rows) + fresh.plans)
    return memory, np.concatenate([vectors[rows], of_new])
