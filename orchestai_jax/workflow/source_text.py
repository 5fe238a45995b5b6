"""Reads catalog files as text, JSON, JSON lines or YAML, with errors that name the file and the line."""

from __future__ import annotations

import json
import os
import pathlib
import re
from typing import Any

import pydantic
import yaml

from orchestai_jax.workflow._field_errors import one_line
from orchestai_jax.workflow.catalog import CatalogError

# The C loader is ten times faster; both build plain values only.
_SAFE_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_SAFE_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _Loader(_SAFE_LOADER):
    """Reads plain scalars as JSON would: dates stay text, and `1e-05` is a number, which YAML 1.1 takes for text."""

    yaml_implicit_resolvers = {  # noqa: RUF012 (PyYAML's name, read only)
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in _SAFE_LOADER.yaml_implicit_resolvers.items()
    }


class _Dumper(_SAFE_DUMPER):
    """Quotes the text that `_Loader` would take for a number."""


for _class in (_Loader, _Dumper):
    _class.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
    )


def read_text(path: str | os.PathLike[str]) -> str:
    """A UTF-8 file's text. Raises CatalogError for a file that is missing or in another encoding, naming the line."""
    try:
        data = pathlib.Path(path).read_bytes()
    except OSError as error:
        raise CatalogError(f"{path}: cannot be read: {error.strerror or error}") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        byte = f"byte 0x{data[error.start]:02x}"
        raise CatalogError(f"{path}, line {line}: {byte} is not UTF-8; save the file as UTF-8") from error


def parse_json(text: str, path: str | os.PathLike[str]) -> Any:
    """Parsed JSON. Raises CatalogError naming line and column."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise CatalogError(f"{path}, line {error.lineno}, column {error.colno}: not JSON: {error.msg}") from error
    except RecursionError as error:
        raise CatalogError(f"{path}: is nested too deeply") from error


def parse_json_lines(text: str, path: str | os.PathLike[str]) -> list[tuple[int, Any]]:
    """(line number, value) for each line that is not blank. Raises CatalogError naming the line."""
    values = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            values.append((number, json.loads(line)))
        except json.JSONDecodeError as error:
            raise CatalogError(f"{path}, line {number}, column {error.colno}: not JSON: {error.msg}") from error
        except RecursionError as error:
            raise CatalogError(f"{path}, line {number}: is nested too deeply") from error
    return values


def parse_yaml(text: str, path: str | os.PathLike[str]) -> Any:
    """Parsed YAML, plain values only. Raises CatalogError naming the line."""
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.reader.ReaderError as error:
        raise CatalogError(f"{path}: not YAML: {error.reason} at character {error.position}") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{path}, line {mark.line + 1}, column {mark.column + 1}" if mark else f"{path}"
        raise CatalogError(f"{where}: not YAML: {error.problem or error.context}") from error
    except (ValueError, RecursionError) as error:
        raise CatalogError(f"{path}: not YAML: {error}") from error


def dump_yaml(content: Any) -> str:
    """YAML of plain values, keys in the given order."""
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def field_error(
    error: pydantic.ValidationError, text: str, path: str | os.PathLike[str], prefix: tuple[int | str, ...] = ()
) -> CatalogError:
    """The error for fields that are wrong in a JSON or YAML text: file, line of the first one, every field."""
    first = error.errors(include_url=False)[0]
    cause = first.get("ctx", {}).get("error")  # of a whole catalog, for which pydantic knows no field
    location = cause.location if isinstance(cause, CatalogError) else ()
    line = _line_of(text, (*prefix, *first["loc"], *location))
    where = f"{path}, line {line}" if line else f"{path}"
    return CatalogError(f"{where}: {one_line(error, prefix=prefix)}")


def _line_of(text: str, location: tuple[int | str, ...]) -> int | None:
    """The line of a value, or of the innermost part around it that is there. JSON is read as the YAML that it is."""
    try:
        node = yaml.compose(text, Loader=_Loader)
    except (yaml.YAMLError, RecursionError):
        return None  # JSON that is not YAML (tabs, say): the message names the field all the same
    if node is None:
        return None
    for part in location:
        found = None
        if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            found = node.value[part]
        elif isinstance(node, yaml.MappingNode):
            found = next((value for key, value in node.value if key.value == str(part)), None)
        if found is None:
            break
        node = found
    return node.start_mark.line + 1
