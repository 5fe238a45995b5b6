"""Options that several verbs take, declared once: as the fields of a dataclass."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import typing
from collections.abc import Callable
from typing import Any


def takes_groups(verb: Callable[..., None]) -> Callable[..., None]:
    """A verb whose parameters may be groups: in place of a dataclass the command takes the dataclass's fields.

    The fields are annotated as parameters of a verb are (`Annotated[…, typer.Option(…)]`), and stand in the help where
    the group stands.

    Raises:
        TypeError: two options have the same name.
    """
    hints = typing.get_type_hints(verb, include_extras=True)
    groups: dict[str, type[Any]] = {}
    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(verb).parameters.values():
        hint = hints[parameter.name]
        if not dataclasses.is_dataclass(hint):
            kept = parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hint)
            parameters.append(kept)
            continue
        groups[parameter.name] = typing.cast("type[Any]", hint)
        fields = typing.get_type_hints(hint, include_extras=True)
        for field in dataclasses.fields(hint):
            default = inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default
            parameters.append(
                inspect.Parameter(
                    field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=fields[field.name]
                )
            )
    names = [parameter.name for parameter in parameters]
    double = sorted({name for name in names if names.count(name) > 1})
    if double:
        raise TypeError(f"{verb.__name__} would take {', '.join(double)} twice")

    @functools.wraps(verb)
    def command(**given: Any) -> None:
        for name, group in groups.items():
            given[name] = group(**{field.name: given.pop(field.name) for field in dataclasses.fields(group)})
        verb(**given)

    command.__signature__ = inspect.Signature(parameters)  # pyright: ignore[reportAttributeAccessIssue]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command
