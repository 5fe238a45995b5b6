"""A catalog as arrays: description vectors, types of ports, statistics of the training plans, workers."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from orchestai_jax.data import PlanningSample
from orchestai_jax.planner.past_plans import PastPlans
from orchestai_jax.planner.task_type_links import TaskTypeLinks, count_links
from orchestai_jax.workflow import ANY, Catalog, describe, types_fit

logger = logging.getLogger(__name__)

MAX_NEIGHBOURS = 256
"""Most out-links a task type that are kept of a tool graph; the rest is left out."""


@dataclasses.dataclass(frozen=True)
class PlanStatistics:
    """What the training plans say about order: ids of the types and workers seen, and counts of pairs.

    `transitions` [K + 2, K + 2] counts (task type, next task type); row K is the start, column K the stop, row and
    column K + 1 stand for types never seen and stay zero. `edges` [K + 2, K + 2] counts dependencies, in the same
    layout.
    """

    task_types: tuple[str, ...]
    workers: tuple[str, ...]
    transitions: Float[np.ndarray, "k2 k2"]
    edges: Float[np.ndarray, "k2 k2"]

    @classmethod
    def of(cls, samples: Sequence[PlanningSample], catalog: Catalog) -> PlanStatistics:
        """Count over training samples; every task type of the catalog counts as known, whether it occurs or not."""
        ids = tuple(t.id for t in catalog.task_types)
        size = len(ids)
        transitions = np.zeros((size + 2, size + 2), np.float32)
        edges = np.zeros((size + 2, size + 2), np.float32)
        for sample in samples:
            positions = [catalog.index[t] for t in sample.task_types]
            for source, target in zip([size, *positions], [*positions, size], strict=True):
                transitions[source, target] += 1
            for source, target in sample.dependencies:
                edges[positions[source], positions[target]] += 1
        return cls(ids, tuple(w.id for w in catalog.workers), transitions, edges)

    def plus(self, other: PlanStatistics) -> PlanStatistics:
        """With the counts that another has of task types that are known here too."""
        size = len(self.task_types)
        place = {name: i for i, name in enumerate(self.task_types)}
        here = np.array([*(place.get(name, size + 1) for name in other.task_types), size])

        def summed(own: np.ndarray, more: np.ndarray) -> np.ndarray:
            total = own.copy()
            np.add.at(total, np.ix_(here, here), more[: len(here), : len(here)])
            total[size + 1], total[:, size + 1] = 0, 0  # of types that are not known here
            return total

        transitions = summed(self.transitions, other.transitions)
        return PlanStatistics(self.task_types, self.workers, transitions, summed(self.edges, other.edges))

    def to_json(self) -> dict[str, Any]:
        """As JSON values; counts as sparse [row, column, count] triples."""

        def sparse(counts: np.ndarray) -> list[list[int]]:
            return [[int(i), int(j), int(counts[i, j])] for i, j in zip(*np.nonzero(counts), strict=True)]

        return {
            "task_types": list(self.task_types),
            "workers": list(self.workers),
            "transitions": sparse(self.transitions),
            "edges": sparse(self.edges),
        }

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> PlanStatistics:
        """Read what `to_json` made."""

        def dense(triples: list[list[int]], size: int) -> np.ndarray:
            counts = np.zeros((size, size), np.float32)
            for i, j, count in triples:
                counts[i, j] = count
            return counts

        size = len(raw["task_types"]) + 2
        return cls(
            tuple(raw["task_types"]),
            tuple(raw["workers"]),
            dense(raw["transitions"], size),
            dense(raw["edges"], size),
        )


@struct.dataclass
class CatalogArrays:
    """A catalog of T task types and W workers (at least one row, which nobody can choose, where there are none).

    M is the most workers that any task type has (at least 1), L the most links out of any. Invariants: `known`
    lies in [0, K), or is K + 1 for a type not seen in training; `worker_known` likewise; `neighbours` is padded with T,
    `able` with W; `descriptions` rows have unit norm.
    """

    descriptions: Float[Array, "T D"]
    known: Int[Array, "T"]
    transitions: Float[Array, "K2 K2"]
    """log(1 + count), see PlanStatistics."""
    edges: Float[Array, "K2 K2"]
    """log(1 + count), see PlanStatistics."""
    neighbours: Int[Array, "T L"]
    produces: Bool[Array, "T P"]
    accepts: Bool[Array, "T P"]
    workers: Float[Array, "W D"]
    worker_known: Int[Array, "W"]
    able: Int[Array, "T M"]
    """The workers that can do each task type, in catalog order."""
    worker_features: Float[Array, "T M 3"]
    """Declared quality, and cost and latency as shares of the dearest and slowest worker of the same task type."""
    embedded: Float[Array, "T hidden"] | None = None
    """The task types' vectors by the network that plans (`embedded_rows`, refined where it has a task-type graph),
    which are else made for each plan."""
    projected: Float[Array, "T hidden"] | None = None
    """`embedded` as the decoder reads a type that it chose (`Decomposer.project`), else made for each choice."""
    past: PastPlans | None = None
    """What training instructions asked for, where their plans vote."""
    links: TaskTypeLinks | None = None
    """Of the task-type graph, for a planner that has one; not wanted where `embedded` is there."""


def description_texts(catalog: Catalog) -> list[str]:
    """The texts whose vectors stand for the task types, then those for the workers."""
    workers = [describe(w.id, w.description) for w in catalog.workers]
    return [t.text for t in catalog.task_types] + workers


def build_catalog_arrays(
    catalog: Catalog, vectors: Float[np.ndarray, "n D"], statistics: PlanStatistics, *, linked: bool = False
) -> CatalogArrays:
    """Lay a catalog out as arrays. `vectors` are unit vectors of `description_texts(catalog)`, in that order.

    `linked`: with the links of the task-type graph; raises ValueError as `count_links` does.
    """
    size = len(catalog.task_types)
    arrays = lay_out(catalog, statistics)
    workers = np.zeros((len(arrays["worker_known"]), vectors.shape[1]), np.float32)
    workers[: len(catalog.workers)] = vectors[size:]
    arrays |= {"descriptions": np.asarray(vectors[:size], np.float32), "workers": workers}
    links = count_links(catalog, statistics.task_types, statistics.transitions) if linked else None
    return CatalogArrays(**jax.device_put(arrays), links=links)  # jnp.asarray would compile a program for each shape


def lay_out(catalog: Catalog, statistics: PlanStatistics) -> dict[str, np.ndarray]:
    """The fields of CatalogArrays without the vectors of task types and workers."""
    known_workers = {w: i for i, w in enumerate(statistics.workers)}
    num_workers = max(len(catalog.workers), 1)
    able, features = _workers_of_types(catalog, num_workers)
    produces, accepts = _port_types(catalog)
    worker_known = [known_workers.get(w.id, len(known_workers)) for w in catalog.workers]
    worker_known += [len(known_workers)] * (num_workers - len(catalog.workers))
    return {
        "known": known_types(catalog, statistics),
        "transitions": np.log1p(statistics.transitions),
        "edges": np.log1p(statistics.edges),
        "neighbours": _neighbours(catalog),
        "produces": produces,
        "accepts": accepts,
        "worker_known": np.array(worker_known, np.int32),
        "able": able,
        "worker_features": features,
    }


def known_types(catalog: Catalog, statistics: PlanStatistics) -> Int[np.ndarray, "T"]:
    """`known` of CatalogArrays."""
    places = {t: i for i, t in enumerate(statistics.task_types)}
    unseen = len(places) + 1  # the row and column of the statistics that stay zero
    return np.array([places.get(t.id, unseen) for t in catalog.task_types], np.int32)


def _workers_of_types(catalog: Catalog, padding: int) -> tuple[np.ndarray, np.ndarray]:
    """`able` and `worker_features` of CatalogArrays."""
    position = {w.id: i for i, w in enumerate(catalog.workers)}
    of_types = [catalog.workers_for(t.id) for t in catalog.task_types]
    most = max(1, max(map(len, of_types), default=1))
    able = np.full((len(of_types), most), padding, np.int32)
    features = np.zeros((len(of_types), most, 3), np.float32)
    for t, workers in enumerate(of_types):
        able[t, : len(workers)] = [position[w.id] for w in workers]
        features[t, : len(workers)] = [(w.quality, w.cost, w.latency) for w in workers] or 0.0
    features[..., 1:] /= np.maximum(features[..., 1:].max(axis=1, keepdims=True), 1e-12)
    return able, features


def _neighbours(catalog: Catalog) -> np.ndarray:
    size = len(catalog.task_types)
    targets: list[list[int]] = [[] for _ in range(size)]
    left_out = 0
    for link in catalog.links:
        row = targets[catalog.index[link.source]]
        if len(row) < MAX_NEIGHBOURS:
            row.append(catalog.index[link.target])
        else:
            left_out += 1
    if left_out:
        logger.warning(
            "catalog %s: %d links are left out of the tool graph; a task type keeps %d",
            catalog.name,
            left_out,
            MAX_NEIGHBOURS,
        )
    table = np.full((size, max((len(r) for r in targets), default=0)), size, np.int32)
    for row, found in zip(table, targets, strict=True):
        row[: len(found)] = found
    return table


def _port_types(catalog: Catalog) -> tuple[np.ndarray, np.ndarray]:
    """Multi-hot [T, P]: which port types a task type produces, and which of them some input of it accepts."""
    types = sorted({p.type for t in catalog.task_types for p in (*t.inputs, *t.outputs)} | {ANY})
    position = {name: i for i, name in enumerate(types)}
    fitting = {wanted: [position[p] for p in types if types_fit(p, wanted)] for wanted in types}
    produces = np.zeros((len(catalog.task_types), len(types)), bool)
    accepts = np.zeros_like(produces)
    for row, task_type in enumerate(catalog.task_types):
        produces[row, [position[o.type] for o in task_type.outputs]] = True
        for port in task_type.inputs:
            accepts[row, fitting[port.type]] = True
    return produces, accepts
