"""The samples that a planner is trained and validated on, as a configuration says."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

from orchestai_jax.config import RunConfig
from orchestai_jax.data import PlanningSample, learnable_runs, load_samples, split_by_hash
from orchestai_jax.workflow import Catalog, TaskType, load_catalog


@dataclasses.dataclass(frozen=True)
class TrainingSamples:
    """What a planner is trained on."""

    catalog: Catalog
    train: Sequence[PlanningSample]
    validation: Sequence[PlanningSample]

    @functools.cached_property
    def occurring(self) -> Catalog:
        """The part of the catalog whose task types occur in the training samples.

        Only these are trained on. As the others are never wanted there, training on them would teach just that: their
        learned vectors, and with them all descriptions like theirs, would be pushed away from every instruction.
        """
        return self.catalog.restricted_to({t for s in self.train for t in s.task_types})


def load_training_samples(config: RunConfig, own_catalog: Catalog | None = None) -> TrainingSamples:
    """Read catalog and samples as the configuration says; where it names no catalog, it is `own_catalog`, or one made
    of the samples' task types.

    Raises CatalogError or DataError naming file and line, and ValueError when the split leaves a part empty.
    """
    data = config.data
    catalog = load_catalog(data.catalog, graph=data.graph) if data.catalog else own_catalog
    samples = _read_samples(data.train, data.format, catalog)
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
                f"{data.train}: no {name} samples are left of {len(samples)}; change data.validation_fraction"
            )
    return TrainingSamples(catalog, train, validation)


def _read_samples(path: str, data_format: str, catalog: Catalog | None) -> Sequence[PlanningSample]:
    """The samples of a file; of run records those that are worth learning from."""
    samples = load_samples(path, data_format, catalog)
    if data_format != "records":
        return samples
    kept = learnable_runs(samples)
    if not kept:
        raise ValueError(f"{path}: no run in it succeeded; there is nothing to learn from")
    return kept
