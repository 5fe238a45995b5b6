"""Which task types of a catalog belong together: the links that it declares, and what followed what in training."""

from __future__ import annotations

import jax
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int

from orchestai_jax.workflow import Catalog

MAX_LINKED_TYPES = 4096
"""Most task types with a link: their weights are dense (64 MiB so), and attention holds some such arrays a head."""


@struct.dataclass
class TaskTypeLinks:
    """The G task types of a catalog that are linked with another one, and how much.

    Invariants: `types` ascend and have no doubles; `weights` are symmetric, not negative, zero on the diagonal, and no
    row is all zero. A type that is not among them has no link.
    """

    types: Int[Array, "G"]
    """Their positions in the catalog."""
    weights: Float[Array, "G G"]
    """log(1 + count), see `count_links`."""


def count_links(
    catalog: Catalog, task_types: tuple[str, ...], transitions: Float[np.ndarray, "K2 K2"]
) -> TaskTypeLinks:
    """The links of a catalog; `transitions` counts how often each of `task_types` followed each in training (see
    PlanStatistics).

    A link that the catalog declares counts as much as one transition that was seen: of a type that training never saw
    there are only such. Both directions count, and are added up. What tells of a type is what comes before it as well
    as what comes after it, and a type that ends every plan has links of the first kind only. A type's link to itself
    says nothing and does not count.

    Raises ValueError where more than MAX_LINKED_TYPES types are linked.
    """
    index = catalog.index
    declared = sorted({(index[link.source], index[link.target]) for link in catalog.links})
    known = len(task_types)
    place = np.array([index.get(name, -1) for name in task_types], np.int64)
    seen = np.argwhere(transitions[:known, :known] > 0)
    counts = transitions[seen[:, 0], seen[:, 1]]
    pairs = np.concatenate([np.array(declared, np.int64).reshape(-1, 2), place[seen].reshape(-1, 2)])
    counts = np.concatenate([np.ones(len(declared)), counts])
    counted = (pairs >= 0).all(axis=1) & (pairs[:, 0] != pairs[:, 1])
    types, ends = np.unique(pairs[counted], return_inverse=True)
    if len(types) > MAX_LINKED_TYPES:
        raise ValueError(
            f"catalog {catalog.name}: {len(types)} task types have links, a task-type graph holds {MAX_LINKED_TYPES};"
            " leave links out of the catalog, or use a planner of planner.task_type_graph.layer=none"
        )
    sources, targets = ends.reshape(-1, 2).T
    summed = np.zeros((len(types), len(types)), np.float32)
    np.add.at(summed, (sources, targets), counts[counted])
    return TaskTypeLinks(**jax.device_put({"types": types.astype(np.int32), "weights": np.log1p(summed + summed.T)}))
