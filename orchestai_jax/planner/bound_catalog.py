"""A catalog, and what instructions are planned over it by."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import numpy as np
from flax import nnx
from jaxtyping import Float, Int
from orchestai_kernels.arrays import Int8Array

from orchestai_jax.planner.catalog_arrays import PlanStatistics, build_catalog_arrays, known_types
from orchestai_jax.planner.catalog_view import CatalogView
from orchestai_jax.planner.encoded_vectors import float_rows
from orchestai_jax.planner.evidence_reader import EvidenceReader
from orchestai_jax.planner.model import ModelSpec, Parameters
from orchestai_jax.planner.past_plans import PlanMemory
from orchestai_jax.planner.retrieval import Retrieval
from orchestai_jax.planner.task_type_embedding import embedded_rows
from orchestai_jax.planner.task_type_graph import refined_rows
from orchestai_jax.planner.task_type_links import count_links
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
    Raises ValueError where the planner has a task-type graph and the catalog too many links for it, see `count_links`.
    """
    matches = spec.planner.decomposer.match_descriptions
    size, graph = len(catalog.task_types), spec.planner.task_type_graph
    known = known_types(catalog, statistics)

    def rows_of(types: Int[np.ndarray, "n"]) -> Float[np.ndarray, "n hidden"]:
        descriptions = float_rows(vectors, types) if isinstance(vectors, Int8Array) else vectors[types]
        return embedded_rows(parameters, "task_types", descriptions, known[types])

    refined = None
    if graph.is_used:
        links = count_links(catalog, statistics.task_types, statistics.transitions)
        refined = refined_rows(graph, parameters, "task_type_graph", rows_of, size, links)
    if isinstance(vectors, Int8Array):
        count = spec.planner.retrieval.candidates
        retrieval = Retrieval(
            graphdef(), parameters, catalog, vectors, statistics, count, matches=matches, embedded=refined
        )
        return BoundCatalog(catalog, None, retrieval)
    embedded = refined if refined is not None else rows_of(np.arange(size))
    arrays = build_catalog_arrays(catalog, vectors, statistics)
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
