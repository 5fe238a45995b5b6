"""Parameters and outputs out of JSON schemas, as OpenAI functions and MCP tools declare them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestai_jax.workflow.catalog import Parameter, Port
from orchestai_jax.workflow.readers.foreign import given_enum, parameter_type, port_type

Schema = Mapping[str, Any]


def parameters_of(schema: Schema) -> tuple[Parameter, ...]:
    """The properties of an object schema as parameters; none for a schema that declares none."""
    required = schema.get("required")
    required = required if isinstance(required, list) else []
    parameters = []
    for name, given in _properties(schema).items():
        found = _resolved(given, schema)
        enum = found.get("enum")
        if not isinstance(enum, list) and "const" in found:
            enum = [found["const"]]
        parameters.append(
            Parameter(
                name=name,
                type="url" if found.get("format") in ("uri", "url") else parameter_type(_type_of(found)),
                description=_words(found),
                required=name in required,
                default=found.get("default"),
                enum=given_enum(enum) if isinstance(enum, list) else None,
            )
        )
    return tuple(parameters)


def outputs_of(schema: Schema | None) -> tuple[Port, ...]:
    """The properties of a result's schema as outputs; one named `output` where there is no schema of an object."""
    if schema is None or not _properties(schema):
        return (Port(name="output", type=port_type(schema.get("type")) if schema else "any"),)
    outputs = []
    for name, given in _properties(schema).items():
        found = _resolved(given, schema)
        outputs.append(Port(name=name, type=port_type(_type_of(found)), description=_words(found)))
    return tuple(outputs)


def _properties(schema: Schema) -> dict[str, Schema]:
    """Properties whose schema is an object. `true` and `{}` allow anything, which the type `any` says."""
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        return {}
    return {name: given if isinstance(given, dict) else {} for name, given in properties.items() if name}


def _resolved(schema: Schema, root: Schema) -> Schema:
    """Follows a chain of local `$ref`s; keywords beside one stay. A reference elsewhere leaves the type open."""
    seen: set[str] = set()
    while isinstance(reference := schema.get("$ref"), str) and reference not in seen and reference.startswith("#/"):
        seen.add(reference)
        target: Any = root
        for part in reference[2:].split("/"):
            target = target.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(target, dict) else None
        if not isinstance(target, dict):
            break
        schema = {**target, **{key: value for key, value in schema.items() if key != "$ref"}}
        if "$ref" in target:
            schema["$ref"] = target["$ref"]
    return schema


def _type_of(schema: Schema) -> Any:
    """The type that a schema names, also as the one choice beside null of `anyOf` or `oneOf`."""
    for key in ("anyOf", "oneOf"):
        choices = schema.get(key)
        if isinstance(choices, list):
            types = {c.get("type") if isinstance(c.get("type"), str) else None for c in choices if isinstance(c, dict)}
            types.discard("null")
            return types.pop() if len(types) == 1 else None
    return schema.get("type")


def _words(schema: Schema) -> str:
    description = schema.get("description", schema.get("title"))
    return description if isinstance(description, str) else ""
