"""A catalog, and what instructions are planned over it by."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import numpy as np
from flax import nnx
from jaxtyping import Float
from orchestai_kernels.arrays import Int8Array

from orchestai_jax.planner.catalog_arrays import PlanStatistics, build_catalog_arrays
from orchestai_jax.planner.catalog_view import CatalogView
from orchestai_jax.planner.evidence_reader import EvidenceReader
from orchestai_jax.planner.model import ModelSpec, Parameters
from orchestai_jax.planner.past_plans import PlanMemory
from orchestai_jax.planner.retrieval import Retrieval
from orchestai_jax.planner.task_type_embedding import embedded_rows
from orchestai_jax.workflow import Catalog


@dataclasses.dataclass(frozen=True)
class BoundCatalog:
    """A catalog as a planner takes it. Keeping the catalog keeps its id from being given to another."""

    catalog: Catalog
    whole: CatalogView | None
    """Where it is small enough to be planned over whole."""
    retrieval: Retrieval | None
    """Where it is not."""


def bind(
    spec: ModelSpec,
    graphdef: Callable[[], nnx.GraphDef],
    parameters: Parameters,
    catalog: Catalog,
    vectors: Float[np.ndarray, "n hidden"] | Int8Array,
    statistics: PlanStatistics,
    past: tuple[PlanMemory, Float[np.ndarray, "N V"]] | None = None,
) -> BoundCatalog:
    """A catalog with the vectors of its descriptions: in 8 bits a number for a large one, which is looked up.

    `past` are plans of training instructions and the instructions' vectors, where there are any to vote.
    """
    matches = spec.planner.decomposer.match_descriptions
    if isinstance(vectors, Int8Array):
        count = spec.planner.retrieval.candidates
        retrieval = Retrieval(graphdef(), parameters, catalog, vectors, statistics, count, matches=matches)
        return BoundCatalog(catalog, None, retrieval)
    size = len(catalog.task_types)
    arrays = build_catalog_arrays(catalog, vectors, statistics)
    embedded = embedded_rows(parameters, "task_types", np.asarray(arrays.descriptions), np.asarray(arrays.known))
    kernel, bias = (np.asarray(parameters[f"decomposer.project.{name}"]) for name in ("kernel", "bias"))
    arrays = dataclasses.replace(
        arrays, **jax.device_put({"embedded": embedded, "projected": embedded @ kernel + bias})
    )
    if past is not None and spec.planner.decoding.neighbours:
        memory, instructions = past
        voters = memory.over(catalog.index, instructions, spec.planner.decomposer.max_tasks)
        arrays = dataclasses.replace(arrays, past=jax.device_put(voters))
    reader = EvidenceReader.of(catalog) if matches else None
    return BoundCatalog(catalog, CatalogView(arrays, reader, np.arange(size), size), None)
