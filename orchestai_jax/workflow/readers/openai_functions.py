"""Function schemas as OpenAI's APIs take them, wrapped (`{"type": "function", "function": {...}}`) or bare."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from orchestai_jax.workflow.catalog import Port, TaskType
from orchestai_jax.workflow.readers.foreign import Foreign, call_task_type
from orchestai_jax.workflow.readers.json_schema import parameters_of


class Function(Foreign):
    """A function, with its parameters as the JSON schema of an object."""

    name: str = Field(min_length=1)
    description: str | None = None
    parameters: dict[str, Any] | None = None


class WrappedFunction(Foreign):
    """An entry of `tools` in a chat-completions request."""

    function: Function


def read_function(content: Any) -> TaskType:
    """The task type of one function. Raises pydantic.ValidationError naming the fields.

    The format declares no result, so there is one output of type `any`.
    """
    wrapped = isinstance(content, dict) and "function" in content
    function = WrappedFunction.model_validate(content).function if wrapped else Function.model_validate(content)
    parameters = parameters_of(function.parameters or {})
    return call_task_type(function.name, function.description, parameters, (Port(name="output"),))
