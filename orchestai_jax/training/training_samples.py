"""The samples that a planner is trained and validated on, as a configuration says."""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from orchestai_jax.config import RunConfig
from orchestai_jax.data import PlanningSample, learnable_runs, load_samples, split_by_hash
from orchestai_jax.planner.catalog_arrays import PlanStatistics
from orchestai_jax.workflow import Catalog, TaskType, load_catalog

if TYPE_CHECKING:
    from orchestai_jax.training.starting_planner import StartingPlanner

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class TrainingSamples:
    """What a planner is trained on."""

    catalog: Catalog
    train: Sequence[PlanningSample]
    validation: Sequence[PlanningSample]
    kept: Sequence[PlanningSample] = ()
    """Those of `train` that the planner which training starts from has learned from before."""
    earlier: PlanStatistics | None = None
    """What that planner knows of its training plans, `kept` and all others."""

    @functools.cached_property
    def statistics(self) -> PlanStatistics:
        """What the training plans say about order, the earlier ones' included."""
        known = {id(sample) for sample in self.kept}
        counted = PlanStatistics.of([s for s in self.train if id(s) not in known], self.occurring)
        return counted if self.earlier is None else counted.plus(self.earlier)

    @functools.cached_property
    def occurring(self) -> Catalog:
        """The part of the catalog whose task types occur in the training samples, or did in earlier ones.

        Only these are trained on. As the others are never wanted there, training on them would teach just that: their
        learned vectors, and with them all descriptions like theirs, would be pushed away from every instruction.
        """
        earlier = self.earlier.task_types if self.earlier is not None else ()
        return self.catalog.restricted_to({*earlier, *(t for s in self.train for t in s.task_types)})


def load_training_samples(config: RunConfig, start: StartingPlanner | None = None) -> TrainingSamples:
    """Read catalog and samples as the configuration says; where it names no catalog, it is the starting planner's, or
    one made of the samples' task types. To run records come the samples that the starting planner has kept.

    Raises CatalogError or DataError naming file and line, and ValueError when the split leaves a part empty.
    """
    data = config.data
    own_catalog = start.catalog if start is not None else None
    catalog = load_catalog(data.catalog, graph=data.graph) if data.catalog else own_catalog
    samples = _read_samples(data.source, "records" if data.records else data.format, catalog)
    if catalog is None:
        names = dict.fromkeys(t for s in samples for t in s.task_types)
        catalog = Catalog(name=config.name, task_types=tuple(TaskType(id=name) for name in names))
    if config.worker.catalog:
        catalog = catalog.model_copy(update={"workers": load_catalog(config.worker.catalog).workers})
    if data.validation:
        train, validation = list(samples), list(_read_samples(data.validation, data.format, catalog))
    else:
        train, validation = split_by_hash(samples, data.validation_fraction)
    for name, part in (("training", train), ("validation", validation)):
        if not part:
            raise ValueError(
                f"{data.source}: no {name} samples are left of {len(samples)}; change data.validation_fraction"
            )
    if data.records is None or start is None:
        return TrainingSamples(catalog, train, validation)
    if not start.kept.train:
        logger.warning("%s has kept none of its training samples: what it knew may be forgotten", start.where)
    kept = start.kept.over(catalog)
    return TrainingSamples(
        catalog, [*train, *kept.train], [*validation, *kept.validation], kept.train, start.statistics
    )


def _read_samples(path: str, data_format: str, catalog: Catalog | None) -> Sequence[PlanningSample]:
    """The samples of a file; of run records those that are worth learning from."""
    samples = load_samples(path, data_format, catalog)
    if data_format != "records":
        return samples
    learned = learnable_runs(samples)
    if not learned:
        raise ValueError(f"{path}: no run in it succeeded; there is nothing to learn from")
    return learned
