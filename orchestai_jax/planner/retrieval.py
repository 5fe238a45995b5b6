"""Retrieval: of a large catalog the task types that an instruction may want, before it is planned over them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from flax import nnx
from jaxtyping import Float, Int
from orchestai_kernels.arrays import Int8Array

from orchestai_jax.planner import compiled
from orchestai_jax.planner.catalog_arrays import PlanStatistics
from orchestai_jax.planner.catalog_view import CatalogView
from orchestai_jax.planner.compiled import PlanningInputs
from orchestai_jax.planner.description_matcher import DescriptionMatcher
from orchestai_jax.planner.evidence_reader import EvidenceReader, SegmentArrays, SplitTexts, of_segments
from orchestai_jax.planner.instruction_reader import more_rows
from orchestai_jax.planner.large_catalog import LargeCatalog
from orchestai_jax.planner.lexical_overlap import Lexicon
from orchestai_jax.planner.model import Parameters
from orchestai_jax.workflow import Catalog


class Retrieval:
    """Looks up the candidates of instructions in one catalog of T task types.

    They are those that the description matcher puts first: the planner's own, or for planners without one the matcher
    that training starts from. Of all T types it is told little, a cosine in 8 bits and a sum of shared words for each
    segment; of the candidates the planner is told what it is told of all types of a small catalog.
    """

    def __init__(
        self,
        graphdef: nnx.GraphDef,
        parameters: Parameters,
        catalog: Catalog,
        vectors: Int8Array,
        statistics: PlanStatistics,
        candidates: int,
        *,
        matches: bool,
        embedded: Float[np.ndarray, "T hidden"] | None = None,
    ):
        """`matches`: whether the planner matches descriptions itself. `vectors`, `embedded`: see LargeCatalog."""
        self._graphdef, self._parameters = graphdef, parameters
        self._candidates, self._matches, self._size = candidates, matches, len(catalog.task_types)
        self._catalog = LargeCatalog(catalog, vectors, statistics, embedded)
        self._lexicon = Lexicon(catalog)
        weights = parameters["matcher.weights"] if matches else DescriptionMatcher().weights[...]
        self._shared_words = self._lexicon.weighted(np.asarray(weights)[1:].tolist())

    def narrow(
        self, inputs: PlanningInputs, split: SplitTexts, also: Sequence[int] = ()
    ) -> tuple[list[CatalogView], PlanningInputs]:
        """For each instruction the part of the catalog to plan it over, and the instructions against those parts.

        `inputs` hold the tokens of at least as many rows as there are texts in `split` (the others repeat the last).
        The task types at the positions `also` are among the candidates of each.
        """
        more = len(inputs.ids) - len(split.texts)
        shared = of_segments(self._shared_words, split.texts, split.segments, split.kinds, (self._size,))
        inside, kinds, shared = (more_rows(x, more) for x in (split.inside, split.kinds, shared))
        encoded, found = compiled.retrieve(
            self._graphdef,
            self._candidates,
            self._parameters,
            self._catalog.descriptions,
            inputs,
            inside,
            kinds,
            shared,
        )
        views = [self._view(types, also) for types in np.asarray(found)[: len(split.texts)]]
        segments = None
        if self._matches:
            parts = zip(views, split.texts, split.segments, split.kinds, strict=True)
            overlap = [
                v.reader.overlap([text], [of_text], of_kinds[None])[0]
                for v, text, of_text, of_kinds in parts
                if v.reader
            ]
            segments = SegmentArrays(inside, kinds, more_rows(np.stack(overlap), more))
        return views, dataclasses.replace(inputs, segments=segments, encoded=encoded)

    def _view(self, found: Int[np.ndarray, "C"], also: Sequence[int]) -> CatalogView:
        types = np.array(sorted([*dict.fromkeys([*also, *found.tolist()])][: self._candidates]), np.int64)
        reader = EvidenceReader(self._lexicon, types) if self._matches else None
        return CatalogView(self._catalog.narrowed_to(types), reader, types, self._size)
