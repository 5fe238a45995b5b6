"""Values on their way between tasks: references resolved to outputs, and outputs checked against what was declared."""

from __future__ import annotations

import json
import math
import pathlib
from collections.abc import Mapping
from typing import Any

from orchestai_jax.execution.preflight import FILE_TYPES, inside
from orchestai_jax.workers import Output
from orchestai_jax.workflow import Port, Reference, Task, TaskType


class BadValueError(ValueError):
    """An argument that an earlier task did not deliver, or an output that is not what the task type declares."""


def resolve_arguments(task: Task, outputs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The plain values of a task's arguments.

    Args:
        task: the task about to start.
        outputs: task id to its outputs, for every task that has succeeded.

    Raises:
        BadValueError: a reference names an output that its task, though it succeeded, did not give.
    """
    values: dict[str, Any] = {}
    for name, argument in task.arguments.items():
        if isinstance(argument, Reference):
            given = outputs[argument.task]
            if argument.output not in given:
                raise BadValueError(
                    f"argument {name} wants output {argument.output!r} of task {argument.task}, "
                    f"which gave only {', '.join(sorted(given)) or 'nothing'}"
                )
            values[name] = given[argument.output]
        else:
            values[name] = argument.value
    return values


def check_output(output: object, task_type: TaskType, root: pathlib.Path) -> Output:
    """The output, checked: every declared value is there, is of its type, is JSON, and its files exist inside `root`.

    Raises:
        BadValueError: naming the value that is wrong and what the worker gave.
    """
    if not isinstance(output, Output):
        raise BadValueError(f"the worker returned {type(output).__name__} in place of an Output")
    if not 0 <= output.cost < math.inf:
        raise BadValueError(f"the worker says that it cost {output.cost}; a cost is dollars, 0 or more")
    if isinstance(output.tokens, bool) or not isinstance(output.tokens, int) or output.tokens < 0:
        raise BadValueError(
            f"the worker says that it used {output.tokens!r} tokens; a whole number, 0 or more, is wanted"
        )
    for name, value in output.values.items():
        try:
            json.dumps(value)
        except (TypeError, ValueError, RecursionError) as error:
            raise BadValueError(f"output {name} cannot be written as JSON: {error}") from error
    for port in task_type.outputs:
        if port.name in output.values:
            _check_value(port, output.values[port.name], root)
        elif port.required:
            given = ", ".join(sorted(output.values)) or "nothing"
            raise BadValueError(f"the worker did not give the output {port.name}; it gave {given}")
    return output


def _check_value(port: Port, value: Any, root: pathlib.Path) -> None:
    if port.type in FILE_TYPES:
        for name in value if isinstance(value, list | tuple) else [value]:
            if not isinstance(name, str):
                raise BadValueError(f"output {port.name} must be the path of a file, not {type(name).__name__}")
            path = inside(root, name)
            if path is None:
                raise BadValueError(f"output {port.name} names {name!r}, outside the root")
            if not path.exists():
                raise BadValueError(f"output {port.name} names the file {name!r}, which was never made")
    elif port.type == "text" and not isinstance(value, str):
        raise BadValueError(f"output {port.name} must be text, not {type(value).__name__}")
    elif port.type == "number" and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise BadValueError(f"output {port.name} must be a number, not {type(value).__name__}")
