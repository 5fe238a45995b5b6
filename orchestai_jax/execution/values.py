"""Values on their way between tasks: outputs checked against what was declared, before anybody sees them."""

from __future__ import annotations

import json
import math
import pathlib
from collections.abc import Mapping
from typing import Any

from orchestai_jax.execution.preflight import FILE_TYPES, inside
from orchestai_jax.workers import Output, WorkerError
from orchestai_jax.workflow import Port, TaskType, plain

_SCALARS = frozenset({str, int, float, bool, type(None)})
_AT_ONCE = {"text": frozenset({str}), "number": frozenset({int, float}), "any": _SCALARS}
"""The types of values that are right without a look at the value."""


class BadValueError(ValueError):
    """An argument that an earlier task did not deliver, or an output that is not what the task type declares."""


def check_output(output: object, task_type: TaskType, root: pathlib.Path) -> Output:
    """The output, checked: every declared value is there, is of its type, is JSON, and its files exist inside `root`.

    What is no scalar is brought to what JSON makes of it (arrays and tuples become lists, keys become strings), so
    that those who come later see the same whether or not the run was resumed in between.

    Raises:
        BadValueError: naming the value that is wrong and what the worker gave.
    """
    if not isinstance(output, Output):
        raise BadValueError(f"the worker returned {type(output).__name__} in place of an Output")
    values = output.values
    if type(values) is not dict and not isinstance(values, Mapping):
        raise BadValueError(f"the worker returned {type(values).__name__} in place of a mapping of outputs")
    if not (type(output.cost) is float and 0.0 <= output.cost < math.inf) and not _is_cost(output.cost):
        raise BadValueError(f"the worker says that it cost {output.cost}; a cost is dollars, 0 or more")
    if isinstance(output.tokens, bool) or not isinstance(output.tokens, int) or output.tokens < 0:
        raise BadValueError(
            f"the worker says that it used {output.tokens!r} tokens; a whole number, 0 or more, is wanted"
        )
    if type(values) is not dict or not _SCALARS.issuperset(map(type, values.values())):
        values = {name: value if type(value) in _SCALARS else _as_json(name, value) for name, value in values.items()}
        output = Output(values, output.cost, output.tokens)
    for port in task_type.outputs:
        if port.name in values:
            value = values[port.name]
            if type(value) not in _AT_ONCE.get(port.type, ()):
                check_value(port, value, root)
        elif port.required:
            given = ", ".join(sorted(map(str, values))) or "nothing"
            raise BadValueError(f"the worker did not give the output {port.name}; it gave {given}")
    return output


def check_value(port: Port, value: Any, root: pathlib.Path, what: str = "output") -> None:
    """Check a value against a port's type. Raises BadValueError naming the port, as `what`, and what was given."""
    if port.type in FILE_TYPES:
        for name in value if isinstance(value, list | tuple) else [value]:
            if not isinstance(name, str):
                raise BadValueError(f"{what} {port.name} must be the path of a file, not {type(name).__name__}")
            path = inside(root, name)
            if path is None:
                raise BadValueError(f"{what} {port.name} names {name!r}, outside the root")
            if not path.exists():
                raise BadValueError(f"{what} {port.name} names the file {name!r}, which was never made")
    elif port.type == "text" and not isinstance(value, str):
        raise BadValueError(f"{what} {port.name} must be text, not {type(value).__name__}")
    elif port.type == "number" and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise BadValueError(f"{what} {port.name} must be a number, not {type(value).__name__}")


def declared_use(given: object) -> tuple[float, int]:
    """The (cost, tokens) that an output, malformed or not, or an error of a worker names; 0 for what is neither."""
    if not isinstance(given, Output | WorkerError):
        return 0.0, 0
    tokens = given.tokens
    return (
        given.cost if _is_cost(given.cost) else 0.0,
        tokens if isinstance(tokens, int) and not isinstance(tokens, bool) and tokens >= 0 else 0,
    )


def _is_cost(cost: object) -> bool:
    return isinstance(cost, int | float) and not isinstance(cost, bool) and 0 <= cost < math.inf


def _as_json(name: str, value: Any) -> Any:
    try:
        return json.loads(json.dumps(plain(value)))
    except (TypeError, ValueError, RecursionError) as error:
        raise BadValueError(f"output {name} cannot be written as JSON: {error}") from error
