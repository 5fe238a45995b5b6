"""Which files and which outputs may stand in an input port, and how well."""

from __future__ import annotations

import re

from orchestai_jax.planner.arguments.lexicon import DATA_NOUNS
from orchestai_jax.planner.arguments.words import content_stems, stem
from orchestai_jax.workflow.catalog import ANY, Port, TaskType, types_fit

_CHART = re.compile(r"\b(?:chart|diagram|plot)\b", re.I)

GOOD = 2.0
"""Fits from here on are taken from anywhere in the text, lesser ones only from the task's own clauses."""

# (type of the port, type of the file) → fit: 3 the same, 2 made for it, 1 readable so.
_FILES: dict[tuple[str, str], float] = {
    ("text", "document"): 1.0,
    ("text", "json"): 1.0,
    ("text", "table"): 1.0,
    ("text", "file"): 1.0,
    ("table", "json"): 1.0,
    ("document", "text"): 1.0,
    ("json", "table"): 1.0,
}


def file_fit(data_type: str, port: Port) -> float:
    """How well a file of a data type suits a port, 0 not at all."""
    if data_type == port.type:
        return 3.0
    if port.type in (ANY, "file"):
        return GOOD
    return _FILES.get((port.type, data_type), 0.0)


def inputs_of(task_type: TaskType) -> dict[str, Port]:
    """Input ports by name."""
    return {port.name: port for port in task_type.inputs}


def is_untyped(task_type: TaskType) -> bool:
    """Whether the inputs say nothing: there are none, or all are optional and take anything.

    So are task types read from catalogs that declare parameters only; an edge to them is kept whatever it carries.
    """
    return all(port.type == ANY and not port.required for port in task_type.inputs)


def is_version(task_type: TaskType) -> bool:
    """Whether what a task type gives is a version of its input, and not a chart of it or facts about it.

    So it is where the output has an input's type and, unless there are several inputs, its name.
    """
    for output in task_type.outputs:
        same = [port for port in task_type.inputs if port.type == output.type]
        named = len(task_type.inputs) > 1 or any(port.name == output.name for port in same)
        if same and named and not _CHART.search(output.description):
            return True
    return False


def best_output(task_type: TaskType, port: Port) -> tuple[float, Port] | None:
    """The output of a task type that suits a port best: (fit, output), None where no type fits."""
    wanted = content_stems(f"{port.name} {port.description}")
    best: tuple[float, Port] | None = None
    for output in task_type.outputs:
        if not types_fit(output.type, port.type):
            continue
        fit = 3.0 if output.type == port.type else 1.0 if ANY in (output.type, port.type) else 2.0
        fit += 0.1 * len(wanted & content_stems(f"{output.name} {output.description}"))
        if best is None or fit > best[0]:
            best = (fit, output)
    return best


def result_words(task_type: TaskType) -> frozenset[str]:
    """Stems of the words that people use for what a task type gives: `the chart`, `the blurred picture`."""
    stems = set(content_stems(task_type.id))
    for output in task_type.outputs:
        stems |= content_stems(f"{output.name} {output.description}")
        stems |= {stem(noun) for noun in DATA_NOUNS.get(output.type, ())}
    return frozenset(stems)
