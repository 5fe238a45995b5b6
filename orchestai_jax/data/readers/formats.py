"""The formats that planning samples are read from, and the one function that reads them all."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

from orchestai_jax.data.data_error import DataError
from orchestai_jax.data.readers.nestful import read_nestful
from orchestai_jax.data.readers.planning import read_planning
from orchestai_jax.data.readers.run_records import read_run_records
from orchestai_jax.data.readers.sealtools import read_sealtools
from orchestai_jax.data.readers.taskbench import read_taskbench
from orchestai_jax.data.sample import PlanningSample
from orchestai_jax.workflow.catalog import Catalog

_log = logging.getLogger(__name__)
_NAMED_TYPES = 8

FORMATS: tuple[str, ...] = ("taskbench", "sealtools", "nestful", "records", "planning")
"""What `load_samples` takes as `format`."""


def load_samples(
    path: str | os.PathLike[str], format: str, catalog: Catalog | None = None, *, allow_unknown: bool = False
) -> list[PlanningSample]:
    """Reads all samples of a file.

    Args:
      path: the file.
      format: one of `FORMATS`.
      catalog: where given, every task type must be in it, and references are named after its outputs.
      allow_unknown: whether task types that the catalog lacks are only warned of, as long as it has some of them. Good
        for scoring, where they count as missed (the specs that NESTFUL publishes lack some that its samples call).

    Raises:
      DataError: the format is unknown, the file is wrong (file, line and field are named) or empty, or it names task
        types that the catalog lacks (they are named).
    """
    samples = _reader(format)(path, catalog)
    if not samples:
        raise DataError(f"{path}: holds no samples")
    if catalog is not None:
        _check_types(path, samples, catalog, allow_unknown)
    return samples


def _reader(format: str) -> Callable[[str | os.PathLike[str], Catalog | None], list[PlanningSample]]:
    readers = {
        "taskbench": read_taskbench,
        "sealtools": read_sealtools,
        "nestful": read_nestful,
        "records": read_run_records,
        "planning": read_planning,
    }
    if format not in readers:
        raise DataError(f"unknown data format `{format}`; one of {', '.join(FORMATS)}")
    return readers[format]


def _check_types(
    path: str | os.PathLike[str], samples: list[PlanningSample], catalog: Catalog, allow_unknown: bool
) -> None:
    missing: dict[str, str] = {}
    for sample in samples:
        for task_type in sample.task_types:
            if task_type not in catalog.index:
                missing.setdefault(task_type, sample.id)
    if missing:
        names = ", ".join(f"`{name}` (sample {where})" for name, where in list(missing.items())[:_NAMED_TYPES])
        more = f" and {len(missing) - _NAMED_TYPES} more" if len(missing) > _NAMED_TYPES else ""
        found = f"{path}: {len(missing)} task types are not in the catalog `{catalog.name}`: {names}{more}"
        known = any(t in catalog.index for sample in samples for t in sample.task_types)
        if not (allow_unknown and known):
            raise DataError(f"{found}; give the catalog that the data was made with")
        _log.warning("%s; they cannot be planned and count as missed", found)
