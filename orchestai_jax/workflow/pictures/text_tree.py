"""A workflow as a tree of text, for terminals and logs."""

from __future__ import annotations

from collections.abc import Mapping

from orchestai_jax.workflow.ordering import predecessors, topological_order
from orchestai_jax.workflow.pictures.labels import argument_text, percent, printable
from orchestai_jax.workflow.workflow import Task, Workflow

DEEPEST = 24
"""Levels of indentation; a task that is deeper starts again at the margin, so that long chains stay readable."""


def to_text(
    workflow: Workflow, *, annotations: Mapping[str, str] | None = None, arguments: bool = True, width: int = 60
) -> str:
    """The workflow as a tree: every task stands below a task that it waits for, with its worker and confidence.

    A task that waits for several stands in full below the last of them, saying what else it needs; below the others
    stands a line that points to it. So every task stands below all that it waits for.
    `annotations` (by task id) are appended to the tasks' lines; with `arguments` these are shown, cut to `width`
    characters. Raises WorkflowError for a workflow that is not a DAG.
    """
    order = topological_order(workflow)
    tasks = {task.id: task for task in workflow.tasks}
    consumers: dict[str, list[str]] = {task_id: [] for task_id in order}
    for task_id in order:
        for producer in predecessors(tasks[task_id]):
            consumers[producer].append(task_id)
    lines = [_headline(workflow)]
    shown: set[str] = set()
    roots = [task_id for task_id in order if not predecessors(tasks[task_id])]
    # (task, its parent, what stands before it, what stands before its children, depth); last in, first out.
    waiting: list[tuple[str, str | None, str, str, int]] = [
        (r, None, *_branch("", r == roots[-1]), 0) for r in reversed(roots)
    ]
    while waiting:
        task_id, parent, before, before_children, depth = waiting.pop()
        task = tasks[task_id]
        needed = predecessors(task)
        if task_id in shown or not shown.issuperset(needed):
            lines.append(f"{before}{printable(task_id)} ({'above' if task_id in shown else 'below'})")
            continue
        shown.add(task_id)
        others = [printable(p) for p in needed if p != parent]
        parts = [_task_line(task)]
        if others and parent is not None:
            parts.append(f"needs {', '.join(others)} too")
        if annotations is not None and task_id in annotations:
            parts.append(printable(annotations[task_id]))
        lines.append(before + "  ".join(parts))
        children = consumers[task_id]
        if arguments and task.arguments:
            given = ", ".join(f"{name} {argument_text(a)}" for name, a in task.arguments.items())
            lines.append(f"{before_children}{'│' if children else ' '}    {printable(given, width)}")
        if depth + 1 >= DEEPEST and children:
            before_children, depth = "", -1
        for child in reversed(children):
            waiting.append((child, task_id, *_branch(before_children, child == children[-1]), depth + 1))
    lines += [f"note: {printable(note)}" for note in workflow.notes]
    return "\n".join(lines)


def _branch(prefix: str, last: bool) -> tuple[str, str]:
    return (prefix + "└─ ", prefix + "   ") if last else (prefix + "├─ ", prefix + "│  ")


def _headline(workflow: Workflow) -> str:
    parts = [printable(workflow.instruction, 100) or "(no instruction)"]
    if not workflow.tasks:
        parts.append("(no tasks)")
    if workflow.confidence is not None:
        parts.append(f"({percent(workflow.confidence)})")
    return "  ".join(parts)


def _task_line(task: Task) -> str:
    line = f"{printable(task.id)} {printable(task.task_type)}"
    if task.worker is not None:
        line += f"  [{printable(task.worker)}]"
    if task.confidence is not None:
        line += f"  {percent(task.confidence)}"
    return line
