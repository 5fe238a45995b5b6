"""TaskBench's `tool_desc.json` and `graph_desc.json`, which GNN4TaskPlan and its UltraTool share.

https://github.com/microsoft/JARVIS/tree/main/taskbench, https://github.com/WxxShirley/GNN4TaskPlan
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from orchestai_jax.workflow.catalog import ANY, Link, Parameter, Port, TaskType
from orchestai_jax.workflow.readers.foreign import Foreign, parameter_type, unique_names


class ToolParameter(Foreign):
    """A parameter, as TaskBench's daily-life APIs have them."""

    name: str = Field(min_length=1)
    type: Any = None
    desc: str | None = None


class ToolNode(Foreign):
    """A tool."""

    id: str = Field(min_length=1)
    desc: str | None = None
    input_type: list[str] | None = Field(default=None, alias="input-type")
    output_type: list[str] | None = Field(default=None, alias="output-type")
    parameters: list[ToolParameter] = Field(default_factory=list)


class ToolFile(Foreign):
    """`tool_desc.json`."""

    nodes: list[ToolNode]


class GraphLink(Foreign):
    """An edge of the tool graph."""

    source: str
    target: str


class GraphFile(Foreign):
    """`graph_desc.json`."""

    links: list[GraphLink]


def read_tools(content: Any) -> list[TaskType]:
    """The task types of a parsed `tool_desc.json`. Raises pydantic.ValidationError naming the fields.

    A tool without declared types takes and gives `any`, and then its input is optional.
    """
    return [_task_type(node) for node in ToolFile.model_validate(content).nodes]


def read_links(content: Any) -> tuple[Link, ...]:
    """The links of a parsed `graph_desc.json`, each once. Raises pydantic.ValidationError naming the fields."""
    links = GraphFile.model_validate(content).links
    return tuple(dict.fromkeys(Link(source=link.source, target=link.target) for link in links))


def _task_type(node: ToolNode) -> TaskType:
    parameters = tuple(
        Parameter(name=p.name, type=parameter_type(p.type), description=p.desc or "") for p in node.parameters
    )
    taken = [p.name for p in parameters]
    return TaskType(
        id=node.id,
        description=node.desc or "",
        inputs=_ports(node.input_type, "input", taken, required=node.input_type is not None),
        outputs=_ports(node.output_type, "output", [], required=True),
        parameters=parameters,
    )


def _ports(types: list[str] | None, name: str, taken: list[str], *, required: bool) -> tuple[Port, ...]:
    """One port is called `input` or `output`; several are called by their types."""
    types = [ANY] if types is None else [t.strip().lower() or ANY for t in types]
    names = unique_names([name] if len(types) == 1 else types, taken)
    return tuple(Port(name=n, type=t, required=required) for n, t in zip(names, types, strict=True))
