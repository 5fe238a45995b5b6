"""Catalogs in files: the own YAML (or JSON) format, and which reader takes which published format."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Callable
from typing import Any, Literal, get_args

import pydantic

from orchestai_jax.workflow.catalog import Catalog, CatalogError, TaskType
from orchestai_jax.workflow.readers import mcp, nestful, openai_functions, sealtools, taskbench
from orchestai_jax.workflow.readers.foreign import merge_doubles
from orchestai_jax.workflow.source_text import (
    dump_yaml,
    field_error,
    parse_json,
    parse_json_lines,
    parse_yaml,
    read_text,
)

CATALOG_VERSION = 1

CatalogFormat = Literal["orchestai", "taskbench", "sealtools", "nestful", "openai", "mcp"]
CATALOG_FORMATS: tuple[CatalogFormat, ...] = get_args(CatalogFormat)

# Formats that are lists of tools, one task type each.
_ENTRY_READERS: dict[str, Callable[[Any], TaskType]] = {
    "sealtools": sealtools.read_api,
    "nestful": nestful.read_spec,
    "openai": openai_functions.read_function,
    "mcp": mcp.read_tool,
}


def load_catalog(
    path: str | os.PathLike[str], graph: str | os.PathLike[str] | None = None, format: str | None = None
) -> Catalog:
    """Read a catalog.

    Args:
        path: Own YAML or JSON; TaskBench's `tool_desc.json`; Seal-Tools' `tool.jsonl`; a NESTFUL spec; a list of OpenAI
            function schemas; an MCP server's `tools/list` result.
        graph: A `graph_desc.json` whose links become the catalog's, beside those that it has.
        format: One of CATALOG_FORMATS; found out from the contents where it is None.

    Tools that a published file declares more than once are merged with a warning (see `merge_doubles`); in an own
    catalog they are an error. Raises CatalogError naming the file, the line and every field that is wrong.
    """
    path = pathlib.Path(path)
    if format is not None and format not in CATALOG_FORMATS:
        raise CatalogError(f"{path}: unknown catalog format {format!r}; known: {', '.join(CATALOG_FORMATS)}")
    text = read_text(path)
    if path.suffix.lower() == ".jsonl":
        catalog = _from_lines(text, path, format)
    else:
        is_yaml = path.suffix.lower() in (".yaml", ".yml")
        content = parse_yaml(text, path) if is_yaml else parse_json(text, path)
        catalog = _from_document(content, text, path, format)
    return catalog if graph is None else _with_graph(catalog, path, pathlib.Path(graph))


def save_catalog(catalog: Catalog, path: str | os.PathLike[str]) -> None:
    """Write a catalog as YAML (as JSON, which is faster, to a `.json`), leaving out what has its default value.

    `load_catalog` gives it back unchanged.
    """
    path = pathlib.Path(path)
    content = catalog.model_dump(mode="json", exclude_defaults=True)
    ordered = {"schema_version": CATALOG_VERSION, "name": catalog.name, **content}
    as_json = path.suffix.lower() == ".json"
    path.write_text(json.dumps(ordered, indent=1) + "\n" if as_json else dump_yaml(ordered), encoding="utf-8")


def catalog_json_schema() -> dict[str, Any]:
    """The JSON schema of the own format, for editors and for whoever writes catalogs by machine."""
    schema = Catalog.model_json_schema()
    version = {"const": CATALOG_VERSION, "default": CATALOG_VERSION, "description": "Version of this format."}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "properties": {"schema_version": version, **schema["properties"]},
    }


def _from_lines(text: str, path: pathlib.Path, format: str | None) -> Catalog:
    lines = parse_json_lines(text, path)
    if format is None:
        if not lines:
            raise CatalogError(f"{path}: is empty; a tool a line is wanted")
        format = _format_of_entries([value for _, value in lines], path)
    if format not in _ENTRY_READERS:
        raise CatalogError(f"{path}: a catalog of the format {format!r} is one document, not JSON lines")
    task_types = []
    for number, value in lines:
        try:
            task_types.append(_ENTRY_READERS[format](value))
        except pydantic.ValidationError as error:
            wrong = field_error(error, "", f"{path}, line {number}")
            raise wrong from error
    return _build(path, task_types)


def _from_document(content: Any, text: str, path: pathlib.Path, format: str | None) -> Catalog:
    format = _format_of_document(content, path) if format is None else format
    if format == "orchestai":
        return _from_own(content, text, path)
    location: tuple[int | str, ...] = ()
    task_types: list[TaskType] = []
    try:
        if format == "taskbench":
            return _build(path, taskbench.read_tools(content))
        prefix, entries = _entries(content, path)
        for i, entry in enumerate(entries):
            location = (*prefix, i)
            task_types.append(_ENTRY_READERS[format](entry))
    except pydantic.ValidationError as error:
        raise field_error(error, text, path, location) from error
    return _build(path, task_types)


def _from_own(content: Any, text: str, path: pathlib.Path) -> Catalog:
    if not isinstance(content, dict):
        given = "nothing" if content is None else f"a {type(content).__name__}"
        raise CatalogError(f"{path}: a catalog is a mapping with `task_types` and `workers`, given {given}")
    fields = dict(content)
    version = fields.pop("schema_version", CATALOG_VERSION)
    if version != CATALOG_VERSION:
        raise CatalogError(f"{path}: schema_version is {version!r}; this package reads {CATALOG_VERSION}")
    try:
        return Catalog.from_fields(fields)
    except pydantic.ValidationError as error:
        raise field_error(error, text, path) from error


def _with_graph(catalog: Catalog, path: pathlib.Path, graph: pathlib.Path) -> Catalog:
    text = read_text(graph)
    try:
        links = taskbench.read_links(parse_json(text, graph))
    except pydantic.ValidationError as error:
        raise field_error(error, text, graph) from error
    try:
        return Catalog(
            name=catalog.name,
            task_types=catalog.task_types,
            workers=catalog.workers,
            links=tuple(dict.fromkeys((*catalog.links, *links))),
        )
    except CatalogError as error:
        raise CatalogError(f"{graph} does not belong to {path}: {error}") from error


def _build(path: pathlib.Path, task_types: list[TaskType]) -> Catalog:
    try:
        return Catalog(name=path.stem, task_types=merge_doubles(task_types, str(path)))
    except CatalogError as error:
        raise CatalogError(f"{path}: {error}") from error


def _entries(content: Any, path: pathlib.Path) -> tuple[tuple[str, ...], list[Any]]:
    """The list of tools in a document, and where in it: the document, or what a request or a response wraps it in."""
    if isinstance(content, list):
        return (), content
    if isinstance(content, dict):
        for keys in (("tools",), ("functions",), ("result", "tools")):
            inner = content
            for key in keys:
                inner = inner.get(key) if isinstance(inner, dict) else None
            if isinstance(inner, list):
                return keys, inner
    given = f"an object with {', '.join(map(repr, content)) or 'nothing'}" if isinstance(content, dict) else content
    raise CatalogError(f"{path}: a list of tools is wanted (or an object with `tools`), given {str(given)[:100]}")


def _format_of_document(content: Any, path: pathlib.Path) -> str:
    if isinstance(content, dict) and "nodes" in content:
        return "taskbench"
    listed = isinstance(content, dict) and ("tools" in content or "functions" in content or "result" in content)
    if not isinstance(content, list) and not listed:
        return "orchestai"
    _, entries = _entries(content, path)
    if not entries:
        raise CatalogError(
            f"{path}: lists no tool, so its format cannot be told; give one of {', '.join(CATALOG_FORMATS)}"
        )
    return _format_of_entries(entries, path)


def _format_of_entries(entries: list[Any], path: pathlib.Path) -> str:
    """The format that the first entry is in; every entry is then read as that."""
    first = entries[0]
    keys = first.keys() if isinstance(first, dict) else set()
    if "inputSchema" in keys:
        return "mcp"
    if "api_name" in keys:
        return "sealtools"
    if keys & {"output_parameters", "query_parameters", "arguments"}:
        return "nestful"
    if "function" in keys or "name" in keys:
        return "openai"
    shown = f"the keys {', '.join(map(repr, keys)) or 'none'}" if isinstance(first, dict) else type(first).__name__
    raise CatalogError(
        f"{path}: the first tool has {shown}, which is no format that we know ({', '.join(CATALOG_FORMATS)})"
    )
