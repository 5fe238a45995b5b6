"""Which kernel implementations and tiles are fastest for the calls that a model makes on the device that is here."""

from __future__ import annotations

import dataclasses
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
from orchestai_kernels.dispatch import observed_calls, platform
from orchestai_kernels.records import Entry, device_name
from orchestai_kernels.shapes import NamedShape
from orchestai_kernels.tuning import SearchPolicy, ops, processor_name, tune

from orchestai_jax.config import KernelOptimizerConfig

Call = tuple[str, tuple[Any, ...], dict[str, Any]]
"""(op, arguments, options), arrays as shapes."""


@dataclasses.dataclass(frozen=True)
class TunedCall:
    """What was found for one key of an op."""

    op: str
    key: str
    """Bucketed shapes and options."""
    implementation: str
    """The fastest, or the only one."""
    config: dict[str, Any] | None
    """Its tiles; None where it has none."""
    trials: int
    """What was measured; 0 where only one implementation runs and there is nothing to choose."""
    gain: float
    """Median time of the slowest that ran over the fastest's; 1 where nothing was measured."""


@dataclasses.dataclass(frozen=True)
class KernelReport:
    """What `detect_and_tune` found."""

    device: str
    """Name of the device's records."""
    platform: str
    """cpu, gpu or tpu."""
    processor: str
    """Its model."""
    tuned: tuple[TunedCall, ...]
    """One entry a key."""
    seconds: float
    """What the search took."""

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return dataclasses.asdict(self)


def calls_of(function: Callable[..., Any], *args: Any) -> list[Call]:
    """Every op call that a function makes for arguments (arrays or shapes), without computing anything."""
    with observed_calls() as calls:
        jax.eval_shape(function, *args)
    return calls


def detect_and_tune(
    calls: Sequence[Call],
    config: KernelOptimizerConfig,
    folder: pathlib.Path,
    *,
    gradient: bool = True,
    progress: Callable[[str], None] | None = None,
) -> KernelReport:
    """Measure each different call, and keep what was found in the tuned records of `folder`, which dispatch reads under
    `overridden(records=folder)`.

    Args:
      calls: see `calls_of`.
      config: tiles with a side above `tile_size` (queries, rows, nodes) or `block_size` (keys, columns) are not tried.
      folder: of the records; entries of other keys stay.
      gradient: whether forward and backward are measured together, as training runs them.
      progress: told a line for each key.

    A call that one implementation without tiles can run is not measured.
    """
    begun = time.perf_counter()
    found: dict[tuple[str, str], TunedCall] = {}
    for name, args, kwargs in calls:
        op = ops([name])[name]
        key = op.key(*args, **kwargs)
        if (name, key) in found:
            continue
        trials = op.trials(*args, **kwargs)
        if len(trials) < 2:
            chosen = op.choose(*args, **kwargs)
            found[name, key] = TunedCall(name, key, chosen.implementation, None, 0, 1.0)
        else:
            entry = tune(
                op,
                {key: NamedShape(args, kwargs, gradient)},
                folder=folder,
                policy=SearchPolicy(repeats=config.repeats),
                keep=lambda tiles: _is_small_enough(tiles, config),
            )[key]
            found[name, key] = _summary(name, entry)
        if progress is not None:
            best = found[name, key]
            progress(f"{name} {key}: {best.implementation} {best.config or ''}".rstrip())
    return KernelReport(device_name(), platform(), processor_name(), tuple(found.values()), time.perf_counter() - begun)


def _is_small_enough(tiles: Any, config: KernelOptimizerConfig) -> bool:
    """By the names of the fields: `block_rows…` and `block_targets` are tiles, other `block_…` blocks."""
    for field in dataclasses.fields(tiles):
        if field.name.startswith(("block_rows", "block_targets")):
            if getattr(tiles, field.name) > config.tile_size:
                return False
        elif field.name.startswith("block_") and getattr(tiles, field.name) > config.block_size:
            return False
    return True


def _summary(op: str, entry: Entry) -> TunedCall:
    fastest, *others = entry.ranked()
    gain = others[-1].median_seconds / fastest.median_seconds if others else 1.0
    config = dict(fastest.config) if fastest.config is not None else None
    return TunedCall(op, entry.key, fastest.implementation, config, len(entry.timings), gain)
