"""Reads JSON lines and JSON arrays so that every later complaint can name the file, the line and the field."""

from __future__ import annotations

import codecs
import dataclasses
import json
import os
import pathlib
import re
from collections.abc import Iterator
from typing import Any, NoReturn

from orchestai_jax.data.data_error import DataError

_SHOWN_CHARACTERS = 60
_WHITESPACE = re.compile(r"[ \t\r\n]*")


@dataclasses.dataclass(frozen=True, slots=True)
class Located:
    """A JSON value with the place it was read from.

    `place` is `file:line`, `field` the way to the value inside its line (`task_nodes[0].task`, empty for the whole).
    """

    value: Any
    place: str
    field: str = ""

    def error(self, message: str) -> DataError:
        """The error that says what is wrong with this value, where it stands and in which field."""
        return DataError(f"{self.place}: field `{self.field}`: {message}" if self.field else f"{self.place}: {message}")

    def mapping(self) -> dict[str, Any]:
        """The value as a JSON object. Raises DataError when it is anything else."""
        if not isinstance(self.value, dict):
            raise self.error(f"expected an object, got {shown(self.value)}")
        return self.value

    def has(self, key: str) -> bool:
        """Whether this object holds `key` with something other than null."""
        return self.mapping().get(key) is not None

    def __getitem__(self, key: str) -> Located:
        """The field `key` of this object. Raises DataError when it is missing."""
        values = self.mapping()
        field = f"{self.field}.{key}" if self.field else key
        if key not in values:
            near = ", ".join(sorted(values)[:8]) or "none"
            raise Located(None, self.place, field).error(f"missing (fields there: {near})")
        return Located(values[key], self.place, field)

    def items(self) -> list[Located]:
        """The entries of this list, each with its own field name. Raises DataError when it is no list."""
        if not isinstance(self.value, list):
            raise self.error(f"expected a list, got {shown(self.value)}")
        return [Located(v, self.place, f"{self.field}[{i}]") for i, v in enumerate(self.value)]

    def text(self) -> str:
        """The value as a string. Raises DataError when it is anything else."""
        if not isinstance(self.value, str):
            raise self.error(f"expected a string, got {shown(self.value)}")
        return self.value

    def name(self) -> str:
        """The value as a string that is not blank. Raises DataError when it is anything else."""
        if not self.text().strip():
            raise self.error("expected a name, got a blank string")
        return self.text()

    def identifier(self) -> str:
        """A string or a number, as a string. Raises DataError when it is anything else, or blank."""
        if isinstance(self.value, bool) or not isinstance(self.value, str | int | float):
            raise self.error(f"expected a string or a number, got {shown(self.value)}")
        return str(self.value) if not isinstance(self.value, str) else self.name()

    def number(self) -> float:
        """The value as a float. Raises DataError when it is no number."""
        if isinstance(self.value, bool) or not isinstance(self.value, int | float):
            raise self.error(f"expected a number, got {shown(self.value)}")
        return float(self.value)

    def position(self, n: int) -> int:
        """The value as a position in a list of `n` entries. Raises DataError when it is none."""
        if isinstance(self.value, bool) or not isinstance(self.value, int) or not 0 <= self.value < n:
            raise self.error(f"expected a position from 0 to {n - 1} (there are {n} tasks), got {shown(self.value)}")
        return self.value


def shown(value: Any) -> str:
    """A value as an error message shows it: its JSON, cut short, with its type."""
    if value is None:
        return "null"
    text = json.dumps(value, ensure_ascii=True, default=str)
    text = text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 3] + "..."
    kind = {bool: "boolean", int: "number", float: "number", str: "string", list: "list", dict: "object"}
    return f"the {kind.get(type(value), type(value).__name__)} {text}"


def read_text(path: str | os.PathLike[str]) -> str:
    """The text of a UTF-8 file, with or without a byte order mark.

    Raises:
      DataError: the file cannot be read, or holds bytes that are not UTF-8 (the line is named).
    """
    try:
        raw = pathlib.Path(path).read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise DataError(f"{path}: is a folder, expected a file") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DataError(f"{path}:1: is UTF-16, expected UTF-8; convert it with `iconv -f UTF-16 -t UTF-8`")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # `start` counts from behind a byte order mark, which has no newline: the line is the same.
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}:{line}: byte 0x{raw[error.start]:02x} is not UTF-8 (another encoding, such as Latin-1, or mixed "
            "ones?); convert the file to UTF-8"
        ) from None


def json_lines(path: str | os.PathLike[str]) -> Iterator[Located]:
    """The objects of a JSON lines file, in order; blank lines are passed over.

    Raises:
      DataError: the file cannot be read, a line is not a JSON object (it is named), or there is none at all.
    """
    found = False
    # Not splitlines(): it also cuts at U+2028 and the like, which JSON allows inside strings.
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        found = True
        place = f"{path}:{number}"
        try:
            value = _decoder.decode(line)
        except json.JSONDecodeError as error:
            what = "ends too early (truncated?)" if error.pos >= len(line.rstrip()) else "is not valid JSON"
            raise DataError(f"{place}: the line {what}: {error.msg} at column {error.colno}") from None
        except (ValueError, RecursionError) as error:
            raise DataError(f"{place}: the line is not usable JSON: {_one_line(error)}") from None
        if not isinstance(value, dict):
            raise DataError(f"{place}: expected a JSON object on the line, got {shown(value)}")
        yield Located(value, place)
    if not found:
        raise DataError(f"{path}: the file is empty, expected one JSON object a line")


def json_array(path: str | os.PathLike[str]) -> Iterator[Located]:
    """The objects of a file that is one JSON array; each entry's place is the line that it starts on.

    Raises:
      DataError: the file cannot be read, is not a JSON array of objects, or is empty.
    """
    text = read_text(path)
    position = _skip(text, 0)
    if position == len(text):
        raise DataError(f"{path}: the file is empty, expected a JSON array")
    if text[position] != "[":
        raise DataError(f"{path}:{_line(text, position)}: expected a JSON array, it starts with {text[position]!r}")
    position = _skip(text, position + 1)
    if text[position : position + 1] == "]":
        raise DataError(f"{path}: the JSON array is empty")
    while True:
        place = f"{path}:{_line(text, position)}"
        try:
            value, position = _decoder.raw_decode(text, position)
        except json.JSONDecodeError as error:
            place = f"{path}:{error.lineno}"
            what = "ends too early (truncated?)" if error.pos >= len(text.rstrip()) else "is not valid JSON"
            raise DataError(f"{place}: the file {what}: {error.msg} at column {error.colno}") from None
        except (ValueError, RecursionError) as error:
            raise DataError(f"{place}: the entry is not usable JSON: {_one_line(error)}") from None
        if not isinstance(value, dict):
            raise DataError(f"{place}: expected a JSON object in the array, got {shown(value)}")
        yield Located(value, place)
        position = _skip(text, position)
        following = text[position : position + 1]
        if following == "]":
            rest = _skip(text, position + 1)
            if rest != len(text):
                raise DataError(f"{path}:{_line(text, rest)}: text after the end of the JSON array")
            return
        if following != ",":
            what = f"got {following!r}" if following else "the file ends too early (truncated?)"
            raise DataError(f"{path}:{_line(text, position)}: expected `,` or `]` after an entry, {what}")
        position = _skip(text, position + 1)


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON number")


_decoder = json.JSONDecoder(parse_constant=_refuse_constant)


def _skip(text: str, position: int) -> int:
    match = _WHITESPACE.match(text, position)
    return match.end() if match else position


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def _one_line(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else " ".join(str(error).split())
