"""A workflow drawn as a tree for the terminal: each task under the last of the tasks that it waits for."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from rich.text import Text
from rich.tree import Tree

from orchestai_jax.workflow import Argument, Reference, Task, Workflow, predecessors, topological_order
from orchestai_jax.workflow.pictures import labels


def task_tree(
    workflow: Workflow, label: Callable[[Task], Text], details: Callable[[Task], Sequence[Text]] = lambda _: ()
) -> Tree:
    """The workflow as a rich tree.

    A task with several predecessors hangs under the one that comes last in topological order and names the others,
    except those it hangs under anyway, so that every task stands once. `label` gives the line of a task, `details` the
    lines beneath it.
    """
    head = Text(printable(workflow.instruction) or "workflow", style="bold")
    if workflow.confidence is not None:
        head.append(f"  confidence {workflow.confidence:.0%}", style="dim")
    tree = Tree(head, guide_style="dim")
    order = topological_order(workflow)
    position = {task_id: i for i, task_id in enumerate(order)}
    branches: dict[str, Tree] = {}
    above: dict[str, set[str]] = {}
    for task_id in order:
        task = workflow.task(task_id)
        before = sorted(predecessors(task), key=position.__getitem__)
        line = label(task)
        above[task_id] = {before[-1], *above[before[-1]]} if before else set()
        beside = [producer for producer in before if producer not in above[task_id]]
        if beside:
            line.append(f"  also after {', '.join(beside)}", style="dim")
        branches[task_id] = (branches[before[-1]] if before else tree).add(line)
        for detail in details(task):
            branches[task_id].add(detail)
    for note in workflow.notes:
        tree.add(Text(f"note: {printable(note)}", style="yellow"))
    return tree


def task_name(task: Task) -> Text:
    """`t1 summarize_text  by textrank`, the beginning of every line about a task."""
    name = Text.assemble((printable(task.id), "bold cyan"), " ", printable(task.task_type))
    if task.worker is not None:
        name.append(f"  by {printable(task.worker)}", style="green")
    return name


def argument_lines(task: Task) -> list[Text]:
    """One line an argument: `image = t1.image`, `width = 200`."""
    lines = []
    for name, argument in task.arguments.items():
        lines.append(Text(f"{printable(name)} = {printable(_shown_argument(argument))}", style="dim"))
    return lines


def _shown_argument(argument: Argument) -> str:
    return f"{argument.task}.{argument.output}" if isinstance(argument, Reference) else shown_value(argument.value)


def shown_value(value: Any) -> str:
    """A value on one line: strings as they are, the rest as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def printable(text: str, at_most: int = 120) -> str:
    """A text on one line, shortened, without characters that could steer the terminal."""
    return labels.printable(text, at_most)
