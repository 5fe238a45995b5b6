"""Turns pydantic's multi-line reports into one line that names each field."""

from __future__ import annotations

import reprlib

import pydantic

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 60


def one_line(error: pydantic.ValidationError, *, at_most: int = 5, prefix: tuple[int | str, ...] = ()) -> str:
    """`tasks[2].id: Field required; ...`: the first `at_most` fields that are wrong, then how many more.

    `prefix` is the location of the value that was validated.
    """
    parts = []
    for detail in error.errors(include_url=False)[:at_most]:
        message = detail["msg"].removeprefix("Value error, ")
        if detail["type"] not in ("value_error", "missing"):
            message += f" (given {_SHORT.repr(detail['input'])})"
        field = field_path((*prefix, *detail["loc"]))
        parts.append(f"{field}: {message}" if field else message)
    more = error.error_count() - len(parts)
    return "; ".join(parts) + (f"; and {more} more" if more else "")


def field_path(location: tuple[int | str, ...]) -> str:
    """`("tasks", 2, "id")` as `tasks[2].id`."""
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path
