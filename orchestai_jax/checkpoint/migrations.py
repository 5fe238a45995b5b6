"""Older formats of checkpoints, read as if this release had written them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from orchestai_jax.checkpoint.leaves import Leaf

OLDEST_READ = 1
"""The oldest format version that can be read."""


def migrated_record(version: int, name: str, record: Any) -> Any:
    """A JSON record (`data_state`, `metadata`, …) of format `version` in the present form."""
    if version == 1 and name == "data_state":
        return _data_state_of_version_1(record)
    return record


def _data_state_of_version_1(record: dict[str, Any]) -> dict[str, Any]:
    """Version 2 counts refused updates, keeps hooks' data, and counts validations where 1 counted epochs."""
    loop = record.get("loop")
    if not isinstance(loop, dict) or "epochs_since_best" not in loop:
        return record
    loop = dict(loop)
    window = {"sums": loop.pop("sums"), "count": loop.pop("count"), "latest": {}}
    since = loop.pop("epochs_since_best")
    loop |= {"validations_since_best": since, "window": window, "skipped": 0, "skipped_in_a_row": 0}
    return {**record, "loop": loop, "hooks": record.get("hooks", {})}


def added_leaves(version: int, leaves: Sequence[Leaf]) -> list[tuple[Leaf, np.ndarray]]:
    """Arrays of a training state that the format of `version` did not have yet, with the value that they stand for.

    Version 2 added `skipped`, the count of refused updates.
    """
    parts = {leaf.path[0][1] for leaf in leaves if leaf.path}
    if version == 1 and {"step", "params", "opt_state", "key"} <= parts and "skipped" not in parts:
        return [(Leaf((("attribute", "skipped"),), (), "int32"), np.zeros((), np.int32))]
    return []
