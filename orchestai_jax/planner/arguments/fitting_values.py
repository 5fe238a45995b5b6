"""What a span is worth as the literal of a parameter of some type."""

from __future__ import annotations

from typing import Any

from orchestai_jax.planner.arguments.spans import Span
from orchestai_jax.planner.arguments.words import squeeze
from orchestai_jax.workflow.catalog import Parameter


def value_for(parameter: Parameter, span: Span) -> Any | None:
    """The literal that a span gives a parameter, None where its type (or enumeration) does not take it."""
    value = _typed(parameter.type, span)
    if value is None or parameter.enum is None:
        return value
    if isinstance(value, list):
        entries = [_entry(parameter, v) for v in value]
        return entries if all(e is not None for e in entries) else None
    return _entry(parameter, value)


def _typed(kind: str, span: Span) -> Any | None:
    value = span.value
    number = isinstance(value, int | float)
    if kind == "integer":
        return value if number and float(value).is_integer() else None
    if kind == "number":
        return value if number else None
    if kind in ("string", "path", "url"):
        return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    if kind == "array":
        return value if isinstance(value, list) else [value]
    return value if kind == "any" else None


def _entry(parameter: Parameter, value: Any) -> Any | None:
    """The entry of the enumeration that is written like a value."""
    form = squeeze(str(value))
    return next((e for e in parameter.enum or () if squeeze(str(e)) == form and not isinstance(e, bool)), None)
