"""The words and data types that pictures show of a task, made safe to print."""

from __future__ import annotations

import json

from orchestai_jax.workflow.catalog import ANY, Catalog, TaskType, describe
from orchestai_jax.workflow.workflow import Argument, Reference, Task


def printable(text: str, at_most: int | None = None) -> str:
    """`text` on one line, cut to `at_most` characters, with nothing in it that Python calls unprintable.

    So there are no terminal escapes, no bidirectional overrides, no lone surrogates; and no zero-width joiners, with
    which text can be disguised, so that the emoji of a family stand one by one.
    """
    if at_most is not None:
        text = text[: 4 * at_most]  # so that a huge text costs nothing
    safe = "".join(" " if c.isspace() else c if c.isprintable() else "\ufffd" for c in text)
    safe = " ".join(safe.split())
    if at_most is not None and len(safe) > at_most:
        safe = safe[: at_most - 1].rstrip() + "…"
    return safe


def title(task_type_id: str) -> str:
    """`resize_image` as `Resize image`; an id without letters or digits as it is."""
    words = describe(task_type_id, "")
    return words[:1].upper() + words[1:] if words else task_type_id


def percent(share: float) -> str:
    """`0.934` as `93 %`."""
    return f"{100 * share:.0f} %"


def argument_text(argument: Argument) -> str:
    """A literal as `= 3`, in JSON; a reference as `<- t1.image`."""
    if isinstance(argument, Reference):
        return f"<- {argument.task}.{argument.output}"
    try:
        return f"= {json.dumps(argument.value, ensure_ascii=False)}"
    except (TypeError, ValueError, RecursionError):
        return f"= {argument.value!r}"  # no JSON, as from a worker in this process; it is only shown


def known_task_type(task: Task, catalog: Catalog | None) -> TaskType | None:
    """The task's type, where a catalog is given and has it."""
    if catalog is None or task.task_type not in catalog.index:
        return None
    return catalog.task_type(task.task_type)


def data_type(task: Task, catalog: Catalog | None) -> str:
    """The data type that a task is about: that of its first typed output, else of its first typed input, else `any`."""
    found = known_task_type(task, catalog)
    if found is None:
        return ANY
    return next((port.type for port in (*found.outputs, *found.inputs) if port.type != ANY), ANY)


def edge_types(task: Task, producer: Task, catalog: Catalog | None) -> list[tuple[str, str, str]]:
    """What `task` takes of `producer`: (output name, argument name, data type) for each reference."""
    found = known_task_type(producer, catalog)
    types = {port.name: port.type for port in found.outputs} if found is not None else {}
    return [
        (argument.output, name, types.get(argument.output, ANY))
        for name, argument in task.arguments.items()
        if isinstance(argument, Reference) and argument.task == producer.id
    ]
