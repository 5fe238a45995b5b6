"""References from one call to an earlier one, as Seal-Tools and NESTFUL write them inside argument values."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from typing import Any

from orchestai_jax.workflow.catalog import Catalog


@dataclasses.dataclass(frozen=True, slots=True)
class Producer:
    """Where a label points: the position of a task and the name of its output."""

    task: int
    output: str


def strings(value: Any) -> Iterator[str]:
    """Every string inside a JSON value, at any depth."""
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, list):
            stack.extend(reversed(item))
        elif isinstance(item, dict):
            stack.extend(reversed(item.values()))


def mentions(value: Any, pattern: re.Pattern[str]) -> list[re.Match[str]]:
    """Every match of `pattern` in the strings of a JSON value."""
    return [match for text in strings(value) for match in pattern.finditer(text)]


def output_names(task_type: str, catalog: Catalog | None) -> tuple[str, ...]:
    """The output names that the catalog declares for a task type; none where it is unknown or not given."""
    if catalog is None or task_type not in catalog.index:
        return ()
    return tuple(port.name for port in catalog.task_type(task_type).outputs)
