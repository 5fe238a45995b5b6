"""Tools as a Model Context Protocol server lists them (`tools/list`). https://modelcontextprotocol.io."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from orchestai_jax.workflow.catalog import TaskType
from orchestai_jax.workflow.readers.foreign import Foreign, call_task_type
from orchestai_jax.workflow.readers.json_schema import outputs_of, parameters_of


class Tool(Foreign):
    """An MCP tool."""

    name: str = Field(min_length=1)
    title: str | None = None
    description: str | None = None
    input_schema: dict[str, Any] = Field(alias="inputSchema")
    output_schema: dict[str, Any] | None = Field(default=None, alias="outputSchema")


def read_tool(content: Any) -> TaskType:
    """The task type of one tool. Raises pydantic.ValidationError naming the fields."""
    tool = Tool.model_validate(content)
    description = tool.description or tool.title
    return call_task_type(tool.name, description, parameters_of(tool.input_schema), outputs_of(tool.output_schema))
