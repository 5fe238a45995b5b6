"""Puts what a reader found into a PlanningSample: dependencies once each, without a cycle."""

from __future__ import annotations

import graphlib
from collections.abc import Iterable, Sequence
from typing import Any

from orchestai_jax.data.located_json import Located
from orchestai_jax.data.sample import PlanningSample


def make_sample(
    entry: Located, field: str, *, task_types: Sequence[str], dependencies: Iterable[tuple[int, int]], **fields: Any
) -> PlanningSample:
    """A sample of the parts that were read from `entry`; `field` names where its dependencies stand.

    Raises:
      DataError: the dependencies hold a cycle (its tasks are named), or the parts do not go together.
    """
    unique = tuple(dict.fromkeys(dependencies))
    graph: dict[int, set[int]] = {}
    for source, target in unique:
        graph.setdefault(target, set()).add(source)
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        names = " -> ".join(f"{task_types[i]} ({i})" for i in error.args[1])
        raise Located(None, entry.place, field).error(f"the tasks form a cycle: {names}") from None
    try:
        return PlanningSample(task_types=tuple(task_types), dependencies=unique, **fields)
    except ValueError as error:
        raise entry.error(str(error)) from None
