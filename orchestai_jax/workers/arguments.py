"""Arguments of a task, checked against its task type and brought to the declared types."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from orchestai_jax.workers.worker import WorkerError
from orchestai_jax.workflow.catalog import Parameter, TaskType

UNITS: dict[str, float] = {
    "": 1.0,
    "%": 0.01,
    "px": 1.0,
    "pixel": 1.0,
    "pixels": 1.0,
    "x": 1.0,
    "s": 1.0,
    "sec": 1.0,
    "second": 1.0,
    "seconds": 1.0,
    "ms": 0.001,
    "min": 60.0,
    "minute": 60.0,
    "minutes": 60.0,
    "hz": 1.0,
    "khz": 1000.0,
    "db": 1.0,
    "kb": 1.0,
    "kilobytes": 1.0,
    "mb": 1000.0,
    "°": 1.0,
    "deg": 1.0,
    "degree": 1.0,
    "degrees": 1.0,
}
"""Units that may follow a number, and its factor (parameters are in px, s, Hz, dB, kB, degrees)."""

ENUM_ALIASES: dict[str, str] = {
    "jpg": "jpeg",
    "tif": "tiff",
    "json": "jsonl",
    "json lines": "jsonl",
    "ndjson": "jsonl",
    "average": "mean",
    "avg": "mean",
    "total": "sum",
    "minimum": "min",
    "lowest": "min",
    "smallest": "min",
    "maximum": "max",
    "highest": "max",
    "largest": "max",
    "number": "count",
    "hist": "histogram",
    "bars": "bar",
    "lines": "line",
    "=": "==",
    "is": "==",
    "equals": "==",
    "equal to": "==",
    "not": "!=",
    "is not": "!=",
    "<>": "!=",
    "≠": "!=",
    "≥": ">=",
    "≤": "<=",
    "at least": ">=",
    "at most": "<=",
    "above": ">",
    "over": ">",
    "greater than": ">",
    "more than": ">",
    "below": "<",
    "under": "<",
    "less than": "<",
    "sha-256": "sha256",
    "sha-1": "sha1",
}
"""Other words for allowed values; used only where the alias itself is not allowed and its meaning is."""

_NUMBER = re.compile(r"\s*([+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)\s*(%|°|[a-zA-Z]*)\s*")
_CLOCK = re.compile(r"\s*(?:(\d+):)?(\d{1,3}):(\d{2}(?:\.\d+)?)\s*")


def check_arguments(task_type: TaskType, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments with every parameter present, converted and within its enum.

    Inputs are passed on as they are; an optional one that was not given is None.

    Raises:
        WorkerError: an argument is unknown, missing, of the wrong type or not among the allowed values.
    """
    ports = {port.name: port for port in task_type.inputs}
    parameters = {parameter.name: parameter for parameter in task_type.parameters}
    for name in arguments:
        if name not in ports and name not in parameters:
            allowed = ", ".join([*ports, *parameters]) or "none"
            raise WorkerError(f"{task_type.id} has no argument {name!r}; it takes {allowed}")
    checked: dict[str, Any] = {}
    for name, port in ports.items():
        value = arguments.get(name)
        if value is None and port.required:
            raise WorkerError(f"{task_type.id} needs the input {name!r} ({port.type}: {port.description or name})")
        checked[name] = value
    for name, parameter in parameters.items():
        value = arguments.get(name)
        if value is None:
            if parameter.must_be_given:
                raise WorkerError(
                    f"{task_type.id} needs the parameter {name!r} ({parameter.type}: {parameter.description or name})"
                )
            value = parameter.default
        checked[name] = None if value is None else convert(parameter, value)
    return checked


def convert(parameter: Parameter, value: Any) -> Any:
    """`value` as the parameter's type.

    `"50%"` → 0.5, `"800 px"` → 800, `"16 kHz"` → 16000, `"1:30"` → 90, `"yes"` → True, `"jpg"` → `"jpeg"`.

    Raises:
        WorkerError: it cannot be read as that type, or is not among the allowed values.
    """
    match parameter.type:
        case "integer":
            number = _number(parameter, value)
            if number != int(number):
                raise WorkerError(f"{parameter.name} must be a whole number, not {value!r}")
            converted: Any = int(number)
        case "number":
            number = _number(parameter, value)
            converted = int(number) if number == int(number) else number
        case "boolean":
            converted = _boolean(parameter, value)
        case "string" | "path" | "url":
            if isinstance(value, bool) or not isinstance(value, (str, int, float, list, tuple)):
                raise WorkerError(f"{parameter.name} must be text, not {_given(value)}")
            converted = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
        case _:
            converted = value
    if parameter.enum is not None and converted not in parameter.enum:
        word = str(converted).strip().lower().removeprefix(".")
        lowered = {str(allowed).lower(): allowed for allowed in parameter.enum}
        if word not in lowered:
            word = ENUM_ALIASES.get(word, word)
        if word not in lowered:
            allowed = ", ".join(str(choice) for choice in parameter.enum)
            raise WorkerError(f"{parameter.name} must be one of {allowed}, not {_given(value)}")
        converted = lowered[word]
    return converted


def _number(parameter: Parameter, value: Any) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        number = float(value)
    elif isinstance(value, str) and (clock := _CLOCK.fullmatch(value)):
        hours, minutes, seconds = clock.groups()
        number = int(hours or 0) * 3600 + int(minutes) * 60 + float(seconds)
    elif isinstance(value, str) and (match := _NUMBER.fullmatch(value)) and match[2].lower() in UNITS:
        number = float(match[1]) * UNITS[match[2].lower()]
    else:
        raise WorkerError(f"{parameter.name} must be a number, not {_given(value)}")
    if not math.isfinite(number):
        raise WorkerError(f"{parameter.name} must be a finite number, not {_given(value)}")
    return number


def _boolean(parameter: Parameter, value: Any) -> bool:
    words = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
    word = str(value).strip().lower()
    if word not in words:
        raise WorkerError(f"{parameter.name} must be true or false, not {_given(value)}")
    return words[word]


def _given(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
