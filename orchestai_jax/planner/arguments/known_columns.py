"""Columns of a table that are known before it is made: those that the declaration of its task type lists."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from orchestai_jax.planner.arguments.traits import traits
from orchestai_jax.planner.arguments.words import squeeze, stem
from orchestai_jax.workflow.catalog import Parameter, TaskType
from orchestai_jax.workflow.workflow import Reference

_LIST = r"((?:\w+, )*\w+,? and \w+)"
_COLUMNS = re.compile(rf"\bcolumns {_LIST}\b", re.I)
_A_COLUMN = re.compile(rf"\bcompute {_LIST} (?:for|of) (?:each|every) column\b", re.I)
_ONE_ROW = re.compile(r"\bone row (?:a|per|for each)\b", re.I)


def declared_columns(task_type: TaskType) -> frozenset[str]:
    """The columns that a task type's declaration lists for the table it makes; empty where it lists none.

    `columns word and count` in an output's description, `Compute count and mean for each column` in the type's own.
    """
    tables = [port for port in task_type.outputs if port.type == "table"]
    if len(tables) != 1:
        return frozenset()
    listed = _COLUMNS.search(tables[0].description)
    if listed is not None:
        return _names(listed[1])
    computed = _A_COLUMN.search(task_type.description)
    return _names(computed[1]) | {"column"} if computed is not None else frozenset()


def _names(text: str) -> frozenset[str]:
    return frozenset(re.split(r",\s(?:and\s)?|\sand\s", text))


def columns_after(task: int, types: Sequence[TaskType], arguments: Sequence[Mapping[str, Any]]) -> frozenset[str]:
    """The known columns of what a task makes, handed on by tasks that keep a table's columns; empty if unknown."""
    for _ in types:
        own = declared_columns(types[task])
        if own:
            return own
        tables = [port for port in types[task].inputs if port.type == "table"]
        made = [port for port in types[task].outputs if port.type == "table"]
        if len(tables) != 1 or len(made) != 1 or _ONE_ROW.search(made[0].description):
            return frozenset()
        source = arguments[task].get(tables[0].name)
        if not isinstance(source, Reference):
            return frozenset()
        task = int(source.task[1:]) - 1
    return frozenset()


def spelled(name: str, known: frozenset[str]) -> str | None:
    """The known column that a name means (`Counts` → count), or None."""
    for column in sorted(known):
        if squeeze(column) == squeeze(name) or stem(column) == stem(name):
            return column
    return None


def column_names(values: Mapping[str, Any], task_type: TaskType) -> dict[str, list[str]]:
    """Parameter → the column names that were read for it."""
    return {
        p.name: _split(values[p.name]) for p in task_type.parameters if p.name in values and _is_column(p, task_type)
    }


def _is_column(parameter: Parameter, task_type: TaskType) -> bool:
    return bool(traits(parameter, task_type).column)


def _split(value: Any) -> list[str]:
    return [str(v) for v in value] if isinstance(value, list) else str(value).split(",")


def keep_known(
    task: int, types: Sequence[TaskType], arguments: Sequence[Mapping[str, Any]], values: dict[str, Any]
) -> None:
    """Drop, or spell as they are called, the column names in `values` where the table's columns are known.

    A required parameter keeps its unknown name: it has no default, and the error of the run names the columns.
    """
    sources = [arguments[task].get(port.name) for port in types[task].inputs if port.type == "table"]
    if len(sources) != 1 or not isinstance(sources[0], Reference):
        return
    known = columns_after(int(sources[0].task[1:]) - 1, types, arguments)
    if not known:
        return
    required = {p.name for p in types[task].parameters if p.must_be_given}
    for name, columns in column_names(values, types[task]).items():
        found = [column for c in columns if (column := spelled(c, known)) is not None]
        if found:
            values[name] = found if isinstance(values[name], list) else ",".join(found)
        elif name not in required:
            del values[name]
