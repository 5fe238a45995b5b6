"""A catalog too large to be planned over whole: kept on the host, and of its task types a few laid out when wanted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from orchestai_kernels.arrays import Int8Array

from orchestai_jax.planner.catalog_arrays import CatalogArrays, PlanStatistics, lay_out
from orchestai_jax.planner.encoded_vectors import float_rows
from orchestai_jax.workflow import Catalog

SHARED = ("transitions", "edges")
"""The fields of CatalogArrays that have no row a task type of the catalog."""


class LargeCatalog:
    """The arrays of a catalog of T task types and W workers, its descriptions' vectors in 8 bits a number."""

    def __init__(
        self,
        catalog: Catalog,
        vectors: Int8Array,
        statistics: PlanStatistics,
        embedded: Float[np.ndarray, "T hidden"] | None = None,
    ):
        """`vectors` are those of `description_texts(catalog)`, in that order, as `int8_rows` gives them; `embedded` of
        CatalogArrays where it is made already: in float32, as it is kept for planners with a task-type graph only."""
        self._size, self._embedded = len(catalog.task_types), embedded
        self._arrays = lay_out(catalog, statistics)
        self._shared: dict[str, Any] = {name: jnp.asarray(self._arrays.pop(name)) for name in SHARED}
        self.descriptions = jax.tree.map(lambda x: x[: self._size], vectors)
        """Of the task types alone."""
        self._of_workers = jax.tree.map(lambda x: x[self._size :], vectors)

    def narrowed_to(self, types: Int[np.ndarray, "C"]) -> CatalogArrays:
        """The task types at these positions as a catalog of their own.

        Links to others are left out. Of the workers stay those that can do one of them, in C x M rows (with those who
        can do several as often), or all where they are fewer.
        """
        laid = self._arrays
        place = np.full(self._size + 1, len(types), np.int32)
        place[types] = np.arange(len(types))
        able, num_workers = laid["able"][types], len(laid["worker_known"])
        if num_workers <= able.size:
            rows = np.arange(num_workers)
        else:
            rows = np.minimum(able.ravel(), num_workers - 1)
            able = np.where(able < num_workers, np.arange(able.size).reshape(able.shape), able.size).astype(np.int32)
        narrowed = {
            "descriptions": float_rows(self.descriptions, types),
            "known": laid["known"][types],
            "neighbours": place[laid["neighbours"][types]],
            "produces": laid["produces"][types],
            "accepts": laid["accepts"][types],
            "workers": self._worker_vectors(rows),
            "worker_known": laid["worker_known"][rows],
            "able": able,
            "worker_features": laid["worker_features"][types],
        }
        if self._embedded is not None:
            narrowed["embedded"] = self._embedded[types]
        on_device: dict[str, Any] = {name: jnp.asarray(array) for name, array in narrowed.items()}
        return CatalogArrays(**on_device, **self._shared)

    def _worker_vectors(self, rows: Int[np.ndarray, "R"]) -> np.ndarray:
        if not self._of_workers.shape[0]:  # one row that nobody can choose
            return np.zeros((1, self.descriptions.shape[1]), np.float32)
        return float_rows(self._of_workers, rows)


def stacked(catalogs: Sequence[CatalogArrays]) -> dict[str, Array]:
    """The fields of catalogs of one shape with a leading axis; those in SHARED, which are all the same, without. What
    narrowed catalogs lack is left out."""
    return {
        name: getattr(catalogs[0], name)
        if name in SHARED
        else jnp.asarray(np.stack([np.asarray(getattr(catalog, name)) for catalog in catalogs]))
        for name in CatalogArrays.__dataclass_fields__
        if getattr(catalogs[0], name) is not None
    }
