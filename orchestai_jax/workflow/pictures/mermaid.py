"""A workflow as a Mermaid flowchart, which GitHub and many editors draw."""

from __future__ import annotations

from orchestai_jax.workflow.catalog import Catalog
from orchestai_jax.workflow.ordering import predecessors, topological_order
from orchestai_jax.workflow.pictures.colours import colours_of
from orchestai_jax.workflow.pictures.labels import data_type, edge_types, percent, printable, title
from orchestai_jax.workflow.workflow import Task, Workflow

_PLAIN = frozenset(" .,-_/()%:+*=!?·…")


def to_mermaid(workflow: Workflow, catalog: Catalog | None = None) -> str:
    """The workflow as a Mermaid flowchart: boxes with task type, worker and confidence, arrows with output names.

    With a catalog, boxes are coloured by the data that the tasks are about. An edge without a reference is dotted.
    Text is escaped, so that no id or instruction can change the chart. Raises WorkflowError for what is not a DAG.
    """
    order = topological_order(workflow)
    tasks = {task.id: task for task in workflow.tasks}
    node = {task_id: f"n{i}" for i, task_id in enumerate(order)}
    lines = ["flowchart LR"]
    lines += [f'    {node[task_id]}["{_label(tasks[task_id])}"]' for task_id in order]
    for task_id in order:
        for producer in predecessors(tasks[task_id]):
            outputs = dict.fromkeys(name for name, _, _ in edge_types(tasks[task_id], tasks[producer], catalog))
            arrow = f'-->|"{escape(", ".join(outputs), 40)}"|' if outputs else "-.->"
            lines.append(f"    {node[producer]} {arrow} {node[task_id]}")
    by_colours: dict[tuple[str, str], list[str]] = {}
    for task_id in order:
        by_colours.setdefault(colours_of(data_type(tasks[task_id], catalog)), []).append(node[task_id])
    for i, ((fill, stroke), nodes) in enumerate(by_colours.items()):
        lines.append(f"    classDef c{i} fill:{fill},stroke:{stroke},color:#1c2430")
        lines.append(f"    class {','.join(nodes)} c{i}")
    return "\n".join(lines) + "\n"


def escape(text: str, at_most: int = 60) -> str:
    """`text` as Mermaid shows it unchanged inside double quotes: everything special as a character code (`#34;`)."""
    return "".join(c if c.isalnum() or c in _PLAIN else f"#{ord(c)};" for c in printable(text, at_most))


def _label(task: Task) -> str:
    second = [task.worker] if task.worker is not None else []
    if task.confidence is not None:
        second.append(percent(task.confidence))
    lines = [f"<b>{escape(title(task.task_type))}</b>"]
    if second:
        lines.append(escape(" · ".join(second)))
    return "<br/>".join(lines)
