"""Seal-Tools' `tool.jsonl`: one API a line. https://github.com/fairyshine/Seal-Tools."""

from __future__ import annotations

from typing import Any

from pydantic import Field, JsonValue

from orchestai_jax.workflow.catalog import ANY, Parameter, Port, TaskType
from orchestai_jax.workflow.readers.foreign import Foreign, call_task_type, given_enum, parameter_type


class ApiSlot(Foreign):
    """A parameter or a response."""

    type: Any = None
    description: str | None = None
    default: JsonValue = None
    choices: list[JsonValue] | None = None


class Api(Foreign):
    """One line of the file."""

    api_name: str = Field(min_length=1)
    api_description: str | None = None
    parameters: dict[str, ApiSlot] = Field(default_factory=dict)
    required: list[str] = Field(default_factory=list)
    responses: dict[str, ApiSlot] = Field(default_factory=dict)


def read_api(content: Any) -> TaskType:
    """The task type of one parsed line. Raises pydantic.ValidationError naming the fields.

    A parameter takes a literal or an earlier API's response; a response is an output. Outputs have the type `any`: the
    declared types of responses are unreliable (9 of the 70 references in the gold plans hand a `str` to an `int`).
    """
    api = Api.model_validate(content)
    return call_task_type(
        api.api_name,
        api.api_description,
        (
            Parameter(
                name=name,
                type=parameter_type(slot.type),
                description=slot.description or "",
                required=name in api.required,
                default=slot.default,
                enum=given_enum(slot.choices),
            )
            for name, slot in api.parameters.items()
        ),
        (Port(name=name, type=ANY, description=slot.description or "") for name, slot in api.responses.items()),
    )
