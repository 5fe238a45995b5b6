"""What a set of planning samples holds, and what is odd about it."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from orchestai_jax.data.plan_draft import plan_shape
from orchestai_jax.data.sample import PlanningSample
from orchestai_jax.workflow.catalog import Catalog

_EXAMPLES = 3


@dataclasses.dataclass(frozen=True, slots=True)
class SampleSummary:
    """Counts over a set of samples."""

    samples: int
    tasks: int
    dependencies: int
    task_types: int
    """Different task types."""
    tasks_per_sample: dict[int, int]
    """Number of tasks → number of samples."""
    shapes: dict[str, int]
    """`empty`, `node`, `chain`, `dag` → number of samples."""
    characters: dict[str, float]
    """Length of the instructions: min, median, p95, max."""
    with_fields: dict[str, int]
    """Optional field → number of samples that have it."""
    frequencies: dict[str, int]
    """Task type → number of tasks, most frequent first."""
    problems: tuple[str, ...]
    """What is odd: one line each, with examples."""

    def to_json(self) -> dict[str, Any]:
        """The summary as plain data."""
        return dataclasses.asdict(self)


def summarize(samples: Sequence[PlanningSample], catalog: Catalog | None = None) -> SampleSummary:
    """Counts what `samples` hold; with a catalog, task types that occur in no sample are reported too."""
    lengths = [len(sample.instruction) for sample in samples] or [0]
    frequencies = Counter(t for sample in samples for t in sample.task_types)
    optional = ("workers", "arguments", "step_texts", "complexities", "preference", "rewards")
    return SampleSummary(
        samples=len(samples),
        tasks=sum(len(sample.task_types) for sample in samples),
        dependencies=sum(len(sample.dependencies) for sample in samples),
        task_types=len(frequencies),
        tasks_per_sample=dict(sorted(Counter(len(sample.task_types) for sample in samples).items())),
        shapes=dict(Counter(plan_shape(len(s.task_types), set(s.dependencies)) for s in samples).most_common()),
        characters={
            "min": float(min(lengths)),
            "median": float(np.median(lengths)),
            "p95": float(np.percentile(lengths, 95)),
            "max": float(max(lengths)),
        },
        with_fields={name: n for name in optional if (n := sum(getattr(s, name) is not None for s in samples))},
        frequencies=dict(sorted(frequencies.items(), key=lambda item: (-item[1], item[0]))),
        problems=tuple(_problems(samples, catalog, frequencies)),
    )


def _problems(samples: Sequence[PlanningSample], catalog: Catalog | None, frequencies: Counter[str]) -> list[str]:
    by_text: dict[str, list[PlanningSample]] = {}
    for sample in samples:
        by_text.setdefault(" ".join(sample.instruction.split()).casefold(), []).append(sample)
    doubles = [group for text, group in by_text.items() if len(group) > 1 and text]
    ids = Counter(sample.id for sample in samples)
    checks = {
        "samples have a blank instruction": [s.id for s in samples if not s.instruction.strip()],
        "samples have no tasks": [s.id for s in samples if not s.task_types],
        "samples hold a task type more than once": [s.id for s in samples if len(s.nodes) < len(s.task_types)],
        "samples have a dependency on a later task": [s.id for s in samples if any(a > b for a, b in s.dependencies)],
        "ids occur more than once": [i for i, n in ids.items() if n > 1],
        "instructions occur more than once": [group[0].id for group in doubles],
        "instructions occur with different plans": [g[0].id for g in doubles if len({s.task_types for s in g}) > 1],
    }
    if catalog is not None:
        checks["task types of the catalog occur in no sample"] = [
            t.id for t in catalog.task_types if t.id not in frequencies
        ]
    lines = []
    for what, where in checks.items():
        if where:
            more = ", …" if len(where) > _EXAMPLES else ""
            lines.append(f"{len(where)} {what} ({', '.join(where[:_EXAMPLES])}{more})")
    return lines
