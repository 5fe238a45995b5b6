"""Samples that a planner keeps in its checkpoint, so that it can go over them again when it learns new ones."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import json
from collections.abc import Sequence

from orchestai_jax.checkpoint.reader import CheckpointReader
from orchestai_jax.data import PlanningSample, load_samples
from orchestai_jax.data.readers.planning import sample_to_json
from orchestai_jax.workflow import Catalog

_TRAIN, _VALIDATION = "kept_train.jsonl", "kept_validation.jsonl"


@dataclasses.dataclass(frozen=True)
class KeptSamples:
    """What a checkpoint holds of the samples that its planner was trained and validated on."""

    train: Sequence[PlanningSample] = ()
    validation: Sequence[PlanningSample] = ()

    @classmethod
    def of(cls, reader: CheckpointReader) -> KeptSamples:
        """Of a checkpoint; none where it keeps none. Raises DataError for lines that are no samples."""
        train, validation = (
            load_samples(reader.folder / "assets" / name, "planning") if reader.assets.get(name) else ()
            for name in (_TRAIN, _VALIDATION)
        )
        return cls(train, validation)

    def over(self, catalog: Catalog) -> KeptSamples:
        """Those whose task types a catalog still has, without the workers that it has no more."""

        def still(samples: Sequence[PlanningSample]) -> list[PlanningSample]:
            return [_without_lost_workers(s, catalog) for s in samples if s.nodes <= catalog.index.keys()]

        return KeptSamples(still(self.train), still(self.validation))


def _without_lost_workers(sample: PlanningSample, catalog: Catalog) -> PlanningSample:
    if sample.workers is None:
        return sample
    pairs = zip(sample.workers, sample.task_types, strict=True)
    workers = tuple(w if w is not None and catalog.can_do(w, t) else None for w, t in pairs)
    return dataclasses.replace(sample, workers=workers)


def kept_samples(train: Sequence[PlanningSample], validation: Sequence[PlanningSample], count: int) -> dict[str, str]:
    """The text files of a checkpoint that keep at most so many training samples, and half as many of validation."""
    parts = {_TRAIN: spread_over_types(train, count), _VALIDATION: spread_over_types(validation, count // 2)}
    return {name: "".join(json.dumps(sample_to_json(s)) + "\n" for s in part) for name, part in parts.items() if part}


def spread_over_types(samples: Sequence[PlanningSample], count: int) -> list[PlanningSample]:
    """At most so many of the samples, chosen so that rare task types are among them; in the order given.

    In rounds over the samples, in an order that a hash of their ids gives: round k takes those with a task type that
    fewer than k taken ones have. The same samples give the same choice.
    """
    if len(samples) <= count:
        return list(samples)
    order = sorted(range(len(samples)), key=lambda i: hashlib.sha256(samples[i].id.encode()).digest())
    taken: set[int] = set()
    held: collections.Counter[str] = collections.Counter()
    wanted = 0
    while len(taken) < count:
        wanted += 1
        for i in order:
            if len(taken) == count:
                break
            if i not in taken and any(held[t] < wanted for t in samples[i].nodes):
                taken.add(i)
                held.update(samples[i].nodes)
    return [samples[i] for i in sorted(taken)]
