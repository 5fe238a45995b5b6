"""Tuning ops at named shapes into their records, and benchmarks of what is there."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from orchestai_kernels import records
from orchestai_kernels.dispatch import Op, current_settings, platform
from orchestai_kernels.shapes import NamedShape
from orchestai_kernels.tuning.search import SearchPolicy, measure


@dataclasses.dataclass(frozen=True)
class Bench:
    """One implementation at one shape."""

    op: str
    """Name of the op."""
    shape: str
    """Name of the shape."""
    implementation: str
    """Name of the implementation."""
    config: Mapping[str, Any] | None
    """That it ran with; None where it has none."""
    seconds: tuple[float, ...]
    """Every timed run; none where it did not run."""
    median_seconds: float | None
    """Their median."""
    chosen: bool
    """Whether `auto` chooses it here."""
    note: str | None
    """Why it did not run."""


def tune(
    op: Op,
    shapes: Mapping[str, NamedShape],
    *,
    folder: pathlib.Path | None = None,
    policy: SearchPolicy | None = None,
    progress: Callable[[str, records.Entry], None] | None = None,
    keep: Callable[[Any], bool] | None = None,
) -> dict[str, records.Entry]:
    """Measure an op at the shapes meant for this platform and write its record, keeping the entries of other keys that
    still hold. Returns the new entries by the shapes' names.

    `keep` says of a configuration whether it is tried; an implementation of which none would be keeps its first guess.
    """
    folder = folder or current_settings().records or records.PACKAGED
    device = records.device_name()
    path = records.record_path(folder, device, op.name)
    sources = {name: implementation.source_hash() for name, implementation in op.implementations.items()}
    kept = {key: entry for key, entry in records.read_record(path).items() if records.is_current(entry, sources)}
    entries: dict[str, records.Entry] = {}
    for name, shape in shapes.items():
        if platform() not in shape.platforms:
            continue
        trials = op.trials(*shape.args, **shape.kwargs)
        if keep is not None:
            first = {implementation.name: config for implementation, config in reversed(trials)}
            kept_names = {i.name for i, config in trials if config is not None and keep(config)}
            trials = [
                (i, config)
                for i, config in trials
                if config is None or keep(config) or (i.name not in kept_names and config == first[i.name])
            ]
        entry = measure(op, trials, shape.args, shape.kwargs, gradient=shape.gradient, policy=policy)
        entries[name] = entry
        kept[entry.key] = entry
        records.write_record(path, op.name, device, kept)  # after each, so that a search cut short is not lost
        if progress is not None:
            progress(name, entry)
    return entries


def bench(op: Op, shapes: Mapping[str, NamedShape], policy: SearchPolicy | None = None) -> list[Bench]:
    """Time every implementation that runs here at the shapes meant for this platform, each with the configuration that
    `auto` or naming it would give it.
    """
    rows: list[Bench] = []
    for name, shape in shapes.items():
        if platform() not in shape.platforms:
            continue
        chosen = op.choose(*shape.args, **shape.kwargs)
        trials: list[tuple[Any, Any]] = []
        for implementation, reason in op.here().items():
            try:
                if reason is not None:
                    raise NotImplementedError(reason)
                choice = op.choose(*shape.args, implementation=implementation, **shape.kwargs)
            except NotImplementedError as error:
                rows.append(Bench(op.name, name, implementation, None, (), None, False, str(error)))
                continue
            config = chosen.config if chosen.implementation == implementation else choice.config
            trials.append((op.implementations[implementation], config))
        entry = measure(op, trials, shape.args, shape.kwargs, gradient=shape.gradient, policy=policy)
        rows += [
            Bench(
                op.name,
                name,
                timing.implementation,
                timing.config,
                timing.seconds,
                timing.median_seconds if timing.seconds else None,
                timing.implementation == chosen.implementation,
                timing.error,
            )
            for timing in entry.timings
        ]
    return rows
