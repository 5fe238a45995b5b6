"""Splits that depend on each sample's id alone, so that they stay the same when samples come, go or move."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from orchestai_jax.data.data_error import DataError
from orchestai_jax.data.sample import PlanningSample


def split_by_hash(
    samples: Sequence[PlanningSample], fraction: float, salt: str = ""
) -> tuple[list[PlanningSample], list[PlanningSample]]:
    """Splits into (rest, held out), about `fraction` of the ids held out; the order is kept.

    A sample is held out when sha256 of salt + id, as a number in [0, 1), is below `fraction`: another salt gives an
    independent split, a larger fraction holds out a superset.

    Raises:
      DataError: `fraction` is outside [0, 1].
    """
    if not 0 <= fraction <= 1:
        raise DataError(f"fraction must be from 0 to 1, got {fraction}")
    rest: list[PlanningSample] = []
    held_out: list[PlanningSample] = []
    for sample in samples:
        digest = hashlib.sha256((salt + sample.id).encode("utf-8", "surrogatepass")).digest()
        (held_out if int.from_bytes(digest[:8]) / 2**64 < fraction else rest).append(sample)
    return rest, held_out
