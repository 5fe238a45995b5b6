"""Reader and writer of the planner's own training JSON lines."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from orchestai_jax.data.located_json import Located, json_lines
from orchestai_jax.data.readers.graph_order import make_sample
from orchestai_jax.data.sample import PlanningSample
from orchestai_jax.workflow.catalog import Catalog

_T = TypeVar("_T")


def read_planning(path: str | os.PathLike[str], catalog: Catalog | None = None) -> list[PlanningSample]:
    """Reads `instruction`, `targets` {model_selections, task_types, dependencies} and `rewards` a line.

    `id`, `arguments`, `complexities`, `step_texts`, `preference` and `workers` (another name of `model_selections`) are
    optional. Without an id a sample gets one made of its content, so that splits by id are stable.

    Raises:
      DataError: naming the file, the line and the field.
    """
    del catalog  # the format names outputs itself
    return [_sample(entry) for entry in json_lines(path)]


def save_samples(path: str | os.PathLike[str], samples: Sequence[PlanningSample]) -> None:
    """Writes samples as `read_planning` reads them, one JSON object a line, by way of a temporary file beside it.

    Raises:
      OSError: the file cannot be written; what stood at `path` before is untouched.
    """
    destination = pathlib.Path(path)
    temporary = destination.with_name(f".{destination.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            for sample in samples:
                file.write(json.dumps(sample_to_json(sample), allow_nan=False) + "\n")
        temporary.replace(destination)
    finally:
        temporary.unlink(missing_ok=True)


def sample_to_json(sample: PlanningSample) -> dict[str, Any]:
    """The JSON object of a sample: the training example, then the fields that are there."""
    example: dict[str, Any] = {
        "id": sample.id,
        "instruction": sample.instruction,
        "targets": {
            "model_selections": list(sample.workers or ()),
            "task_types": list(sample.task_types),
            "dependencies": [list(pair) for pair in sample.dependencies],
        },
        "rewards": dict(sample.rewards or {}),
    }
    if sample.arguments is not None:
        example["arguments"] = [dict(arguments) for arguments in sample.arguments]
    for name in ("complexities", "step_texts", "preference"):
        if getattr(sample, name) is not None:
            example[name] = list(getattr(sample, name))
    return example


def _sample(entry: Located) -> PlanningSample:
    targets = entry["targets"]
    names = [item.name() for item in targets["task_types"].items()]
    instruction = entry["instruction"].text()
    content = json.dumps([instruction, names]).encode()
    return make_sample(
        entry,
        "targets.dependencies",
        id=entry["id"].identifier() if entry.has("id") else hashlib.sha256(content).hexdigest()[:16],
        instruction=instruction,
        task_types=names,
        dependencies=_dependencies(targets, len(names)),
        workers=_workers(entry, targets, len(names)),
        step_texts=_step_texts(entry, len(names)),
        arguments=_arguments(entry, len(names)),
        complexities=_complexities(entry, len(names)),
        preference=_preference(entry),
        rewards=_rewards(entry),
    )


def _dependencies(targets: Located, n: int) -> list[tuple[int, int]]:
    pairs = []
    for item in targets["dependencies"].items() if targets.has("dependencies") else []:
        ends = item.items()
        if len(ends) != 2:
            raise item.error(f"expected a pair [producer, consumer], got {len(ends)} entries")
        pairs.append((ends[0].position(n), ends[1].position(n)))
        if pairs[-1][0] == pairs[-1][1]:
            raise item.error(f"task {pairs[-1][0]} depends on itself")
    return pairs


def _workers(entry: Located, targets: Located, n: int) -> tuple[str | None, ...] | None:
    lists = []
    for owner, name in ((targets, "model_selections"), (entry, "workers")):
        # An empty list stands for "no workers known".
        if owner.has(name) and (items := owner[name].items()):
            workers = tuple(None if item.value is None else item.name() for item in items)
            lists.append(_as_many(owner[name], workers, n))
    if len(lists) == 2 and lists[0] != lists[1]:
        raise entry["workers"].error("differs from targets.model_selections; give one of the two")
    return lists[0] if lists and any(worker is not None for worker in lists[0]) else None


def _step_texts(entry: Located, n: int) -> tuple[str, ...] | None:
    if not entry.has("step_texts"):
        return None
    place = entry["step_texts"]
    return _as_many(place, tuple(item.text() for item in place.items()), n)


def _complexities(entry: Located, n: int) -> tuple[float, ...] | None:
    if not entry.has("complexities"):
        return None
    place = entry["complexities"]
    for item in place.items():
        if not 0 <= item.number() <= 1:
            raise item.error(f"expected a complexity from 0 to 1, got {item.number():g}")
    return _as_many(place, tuple(item.number() for item in place.items()), n)


def _arguments(entry: Located, n: int) -> tuple[Mapping[str, Any], ...] | None:
    if not entry.has("arguments"):
        return None
    place = entry["arguments"]
    for task in place.items():
        for name in task.mapping():
            argument = task[name]
            keys = set(argument.mapping())
            if keys == {"task", "output"}:
                argument["task"].position(n)
                argument["output"].name()
            elif keys != {"value"}:
                raise argument.error('expected {"value": ...} or {"task": position, "output": name}')
    return _as_many(place, tuple(task.mapping() for task in place.items()), n)


def _preference(entry: Located) -> tuple[float, float, float] | None:
    if not entry.has("preference"):
        return None
    place = entry["preference"]
    if isinstance(place.value, dict):
        weights = [place[name] for name in ("success", "cost", "latency")]
    else:
        weights = place.items()
    if len(weights) != 3 or any(weight.number() < 0 for weight in weights):
        raise place.error("expected the three weights [success, cost, latency], none negative")
    return (weights[0].number(), weights[1].number(), weights[2].number())


def _rewards(entry: Located) -> dict[str, float] | None:
    if not entry.has("rewards"):
        return None
    place = entry["rewards"]
    return {name: place[name].number() for name in place.mapping()} or None


def _as_many(place: Located, entries: tuple[_T, ...], n: int) -> tuple[_T, ...]:
    if len(entries) != n:
        raise place.error(f"has {len(entries)} entries for {n} task_types")
    return entries
