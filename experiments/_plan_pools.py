"""What a trained planner finds for instructions: the plans of a wide beam, scores of task types, vectors."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from orchestai_jax.config import RunConfig
from orchestai_jax.data import bucket_length
from orchestai_jax.planner.catalog_arrays import CatalogArrays, build_catalog_arrays
from orchestai_jax.planner.decoding import NO_PLAN, decode_ranked
from orchestai_jax.planner.description_vectors import catalog_vectors
from orchestai_jax.planner.model import build_structure, merge_parameters
from orchestai_jax.planner.text_encoder import mean_pool
from orchestai_jax.training.starting_planner import StartingPlanner

Plan = tuple[str, ...]
"""Task types, in order."""

_BATCH = 16
_BUCKET = 32


@dataclasses.dataclass(frozen=True)
class Pool:
    """The plans that a planner found for one instruction, the most probable first."""

    plans: tuple[Plan, ...]
    logp: NDArray[np.float64]
    """[plans]: their log-probabilities."""
    labels: dict[str, float]
    """Log-odds of each task type of the plans, by the label head."""
    mentions: dict[str, float]
    """The token at which the instruction speaks of each."""


@dataclasses.dataclass(frozen=True)
class Reading:
    """Instructions as a planner reads them."""

    tuned: Float[np.ndarray, "n hidden"]
    """Unit vectors: its own encoder's tokens, averaged."""
    frozen: Float[np.ndarray, "n hidden"]
    """Unit vectors by the encoder of descriptions, which no training changes."""


class PoolMaker:
    """A trained planner, for reading instructions and searching plans with beams of any width."""

    def __init__(self, config: RunConfig, checkpoint: pathlib.Path):
        phase = config.training.phase1_supervised.model_copy(update={"initialize_from": str(checkpoint)})
        training = config.training.model_copy(update={"phase1_supervised": phase})
        planner = StartingPlanner.of(config.model_copy(update={"training": training}))
        assert planner is not None, "it was named"
        self._graphdef, _ = build_structure(planner.spec)
        self._parameters, self._tokenizer = planner.parameters, planner.tokenizer
        self._max_tokens = min(planner.spec.planner.encoder.max_tokens, planner.spec.encoder.max_positions)
        self._names = [t.id for t in planner.catalog.task_types]
        vectors = catalog_vectors(self._graphdef, self._parameters, self._tokenizer, planner.catalog)
        self._arrays = build_catalog_arrays(planner.catalog, vectors, planner.statistics)

    def read(self, texts: Sequence[str]) -> Reading:
        """The instructions' vectors."""
        tuned, frozen = self._each(texts, functools.partial(_read, self._graphdef, self._parameters, self._arrays))
        return Reading(_unit(tuned), _unit(frozen))

    def search(self, texts: Sequence[str], beams: int) -> list[Pool]:
        """Of each instruction the plans that a search with so many beams ends with."""
        run = functools.partial(_search, self._graphdef, beams, self._parameters, self._arrays)
        rows = zip(*self._each(texts, run), strict=True)
        return [self._pool(*row) for row in rows]

    def _pool(self, chosen: NDArray, logp: NDArray, labels: NDArray, mentions: NDArray) -> Pool:
        found = [
            (tuple(self._names[t] for t in c if t < len(self._names)), p) for c, p in zip(chosen, logp, strict=True)
        ]
        kept = [(plan, p) for plan, p in found if p > NO_PLAN]
        used = {t for plan, _ in kept for t in plan}
        place = {name: i for i, name in enumerate(self._names) if name in used}
        return Pool(
            plans=tuple(plan for plan, _ in kept),
            logp=np.array([p for _, p in kept], np.float64),
            labels={name: float(labels[i]) for name, i in place.items()},
            mentions={name: float(mentions[i]) for name, i in place.items()},
        )

    def _each(self, texts: Sequence[str], run: Callable[[NDArray, NDArray], tuple]) -> list[NDArray]:
        """What `run` (token ids, mask → arrays [batch, …]) gives for each text, in the order of the texts."""
        token_ids = self._tokenizer.encode_batch(list(texts), self._max_tokens)
        order = sorted(range(len(texts)), key=lambda i: len(token_ids[i]))
        rows: list[tuple[NDArray, ...]] = [()] * len(texts)
        for start in range(0, len(order), _BATCH):
            indices = order[start : start + _BATCH]
            length = bucket_length(len(token_ids[indices[-1]]), _BUCKET, self._max_tokens)
            ids, mask = np.zeros((_BATCH, length), np.int32), np.zeros((_BATCH, length), bool)
            mask[:, 0] = True  # rows that fill the batch up; softmax wants one real token
            for row, i in enumerate(indices):
                ids[row, : len(token_ids[i])] = token_ids[i]
                mask[row, : len(token_ids[i])] = True
            found = jax.device_get(run(ids, mask))
            for row, i in enumerate(indices):
                rows[i] = tuple(x[row] for x in found)
        return [np.stack(column) for column in zip(*rows, strict=True)]


@functools.partial(jax.jit, static_argnums=0)
def _read(graphdef, parameters, arrays: CatalogArrays, ids, mask):
    model = merge_parameters(graphdef, parameters)
    hidden = model.encode(arrays, model.lower(ids, mask), mask).hidden
    return mean_pool(hidden, mask), model.describe(ids, mask)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _search(graphdef, beams: int, parameters, arrays: CatalogArrays, ids, mask):
    model = merge_parameters(graphdef, parameters)
    lower, batch = model.lower(ids, mask), ids.shape[0]
    encoded = model.encode(arrays, lower, mask)
    found = decode_ranked(model, arrays, lower, mask, jnp.ones((batch, 3)), beams)
    chosen, logp = found.chosen.reshape(batch, beams, -1), found.plan_logp.reshape(batch, beams)
    return chosen, logp, encoded.labels, encoded.mentions


def _unit(x: NDArray) -> NDArray:
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
