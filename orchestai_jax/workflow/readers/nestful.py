"""NESTFUL's API specs, in both their shapes. https://github.com/IBM/NESTFUL.

The `sgd` spec has untyped `arguments` with `allowed_values` and `default_value`; the `glaive` spec has typed
`query_parameters` or `parameters`.
"""

from __future__ import annotations

from typing import Any

from pydantic import AliasChoices, Field, JsonValue

from orchestai_jax.workflow.catalog import ANY, Parameter, Port, TaskType
from orchestai_jax.workflow.readers.foreign import Foreign, call_task_type, given_enum, parameter_type


class SpecSlot(Foreign):
    """An argument or an output."""

    type: Any = None
    description: str | None = None
    required: Any = False
    """True or false; a nested schema has its own list of names here, which says nothing about this argument."""
    default_value: JsonValue = None
    allowed_values: list[JsonValue] | None = Field(
        default=None, validation_alias=AliasChoices("allowed_values", "enum")
    )


class Spec(Foreign):
    """One API."""

    name: str = Field(min_length=1)
    description: str | None = None
    arguments: dict[str, SpecSlot] = Field(default_factory=dict)
    query_parameters: dict[str, SpecSlot] = Field(default_factory=dict)
    parameters: dict[str, SpecSlot] = Field(default_factory=dict)
    output_parameters: dict[str, SpecSlot] = Field(default_factory=dict)


def read_spec(content: Any) -> TaskType:
    """The task type of one API of a parsed spec. Raises pydantic.ValidationError naming the fields.

    Outputs have the type `any`: `sgd` declares none, and `glaive`'s are contradicted by its own gold plans.
    """
    spec = Spec.model_validate(content)
    slots = {**spec.parameters, **spec.query_parameters, **spec.arguments}
    return call_task_type(
        spec.name,
        spec.description,
        (
            Parameter(
                name=name,
                type=parameter_type(slot.type),
                description=slot.description or "",
                required=slot.required is True,
                default=slot.default_value,
                enum=given_enum(slot.allowed_values),
            )
            for name, slot in slots.items()
        ),
        (
            Port(name=name, type=ANY, description=slot.description or "")
            for name, slot in spec.output_parameters.items()
        ),
    )
