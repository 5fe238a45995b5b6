"""What all readers of foreign formats share: tolerant models, the mapping of types, the merging of doubles."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ConfigDict, JsonValue

from orchestai_jax.workflow.catalog import ANY, Parameter, ParameterType, Port, TaskType

_LOG = logging.getLogger(__name__)

_PARAMETER_TYPES: dict[str, ParameterType] = {
    "str": "string", "string": "string", "text": "string", "int": "integer", "integer": "integer", "long": "integer",
    "float": "number", "double": "number", "number": "number", "bool": "boolean", "boolean": "boolean",
    "array": "array", "list": "array", "tuple": "array", "object": "object", "dict": "object", "file": "path",
    "path": "path", "url": "url", "uri": "url",
}  # fmt: skip

_PORT_TYPES: dict[ParameterType, str] = {
    "string": "text", "integer": "number", "number": "number", "array": "json", "object": "json", "path": "file",
    "url": "text",
}  # fmt: skip


class Foreign(BaseModel):
    """A part of somebody else's file: keys that are not ours to know are passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True, populate_by_name=True)


def parameter_type(name: Any) -> ParameterType:
    """A type as other formats write it (`str`, `["string", "null"]`, `Optional[int]`); `any` for one we don't know."""
    if isinstance(name, list):
        names = [entry for entry in name if entry != "null"]
        name = names[0] if len(names) == 1 else None
    if not isinstance(name, str):
        return "any"
    name = name.strip().lower().removeprefix("optional[").split("[")[0].rstrip("]")
    return _PARAMETER_TYPES.get(name, "any")


def port_type(name: Any) -> str:
    """The data type of an output that another format declares with the type `name`."""
    return _PORT_TYPES.get(parameter_type(name), ANY)


def call_task_type(
    name: str, description: str | None, parameters: Iterable[Parameter], outputs: Iterable[Port]
) -> TaskType:
    """The task type of a function call: it takes parameters, each a literal or a reference.

    Such formats declare no data inputs. The one optional input of type `any` says that every call may follow every
    other; its name is `input`, or `input_2` where a parameter has that name.
    """
    parameters = tuple(parameters)
    name_of_input = unique_names(["input"], taken=[p.name for p in parameters])[0]
    return TaskType(
        id=name,
        description=description or "",
        inputs=(Port(name=name_of_input, type=ANY, description="any output of an earlier task", required=False),),
        outputs=tuple(outputs),
        parameters=parameters,
    )


def unique_names(names: Iterable[str], taken: Iterable[str] = ()) -> list[str]:
    """`text, text` as `text, text_2`; no name is one of `taken`."""
    used, result = set(taken), []
    for name in names:
        candidate, number = name, 1
        while candidate in used:
            number += 1
            candidate = f"{name}_{number}"
        used.add(candidate)
        result.append(candidate)
    return result


def merge_doubles(task_types: Iterable[TaskType], where: str) -> tuple[TaskType, ...]:
    """Make ids unique, for published files repeat tools (NESTFUL's glaive spec declares five of them twice or more).

    Repeats that are equal become one. Where they differ the first gives the description, and inputs, parameters and
    outputs are those of all, by name, the first that has the name winning; what one of them lacks is not required.
    Either way a warning names the ids.
    """
    merged: dict[str, TaskType] = {}
    equal: list[str] = []
    different: list[str] = []
    for task_type in task_types:
        first = merged.setdefault(task_type.id, task_type)
        if first is task_type:
            continue
        (equal if first == task_type else different).append(task_type.id)
        merged[task_type.id] = first if first == task_type else _union(first, task_type)
    for names, what in ((equal, "are declared more than once"), (different, "are declared differently, and merged")):
        if names:
            _LOG.warning("%s: %d task type(s) %s: %s", where, len(names), what, ", ".join(dict.fromkeys(names)))
    return tuple(merged.values())


def _union(first: TaskType, second: TaskType) -> TaskType:
    def slots(kind: str) -> tuple[Any, ...]:
        here = {slot.name: slot for slot in getattr(first, kind)}
        there = {slot.name: slot for slot in getattr(second, kind)}
        both = {**there, **here}
        names = [*here, *(name for name in there if name not in here)]
        if kind == "outputs":
            return tuple(both[name] for name in names)
        common = here.keys() & there.keys()
        return tuple(both[n] if n in common else both[n].model_copy(update={"required": False}) for n in names)

    inputs, parameters = slots("inputs"), slots("parameters")
    taken = {p.name for p in parameters}
    return first.model_copy(
        update={
            "description": first.description or second.description,
            "inputs": tuple(p for p in inputs if p.name not in taken),
            "parameters": parameters,
            "outputs": slots("outputs"),
        }
    )


def given_enum(values: list[JsonValue] | None) -> tuple[Any, ...] | None:
    """The allowed values, None where nothing restricts them (other formats also write an empty list for that)."""
    return tuple(values) if values else None
