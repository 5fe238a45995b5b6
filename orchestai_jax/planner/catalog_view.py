"""What a catalog looks like to the planner's programs: all of its task types, or of a large one the candidates."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from orchestai_jax.planner.catalog_arrays import CatalogArrays
from orchestai_jax.planner.decoding import DecodedPlans
from orchestai_jax.planner.evidence_reader import EvidenceReader


@dataclasses.dataclass(frozen=True)
class CatalogView:
    """The C task types of a catalog that an instruction is planned over."""

    arrays: CatalogArrays
    reader: EvidenceReader | None
    """For planners that match descriptions."""
    types: Int[np.ndarray, "C"]
    """Their positions in the catalog, ascending."""
    catalog_size: int

    @property
    def size(self) -> int:
        """C."""
        return len(self.types)

    def of_catalog(self, plan: DecodedPlans) -> DecodedPlans:
        """A decoded plan (one row, NumPy arrays) over the view as one over the catalog."""
        chosen: Any = np.append(self.types, self.catalog_size)[np.minimum(plan.chosen, self.size)]
        return dataclasses.replace(plan, chosen=chosen)

    def places(self, positions: Sequence[int]) -> Int[np.ndarray, "n"]:
        """Where task types of the catalog stand in the view. They must be in it."""
        return np.searchsorted(self.types, np.asarray(positions, np.int64))
