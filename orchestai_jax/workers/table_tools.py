"""Tools on one table: filter, sort, select, convert, remove duplicates, write as Markdown."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import polars as pl

from orchestai_jax.workers.local_tool import ToolCall
from orchestai_jax.workers.table_files import is_number_column, numbers_of, read_table, write_table
from orchestai_jax.workers.table_rows import find_column, is_number, table_format
from orchestai_jax.workers.worker import WorkerError


def filter_table_polars(call: ToolCall) -> dict[str, Any]:
    """Rows whose cell compares true; empty cells never do.

    Where the column and the value are numbers they compare as numbers, else as texts (ISO dates sort right so).
    """
    path = call.file("table")
    frame = read_table(path)
    column = find_column(frame.columns, call.string("column"))
    value, operator = call.arguments["value"], call.string("operator")
    if isinstance(value, (dict, list)):
        raise WorkerError(f"value must be a text or a number, not {type(value).__name__}")
    if operator == "contains":
        needle = str(value).lower()
        mask = frame[column].cast(pl.String).str.to_lowercase().str.contains(needle, literal=True)
    else:
        if is_number_column(frame[column]) and is_number(value):
            cells, other = numbers_of(frame, column), float(value)
        else:
            if operator not in ("==", "!=") and is_number_column(frame[column]):
                raise WorkerError(f"column {column!r} holds numbers, but value {str(value)[:40]!r} is none")
            cells, other = frame[column].cast(pl.String), _text(value)
            if not (cells == other).any():  # `north` finds `North`, unless the table tells them apart
                cells, other = cells.str.to_lowercase(), other.lower()
        compare = {
            "==": cells == other,
            "!=": cells != other,
            "<": cells < other,
            "<=": cells <= other,
            ">": cells > other,
            ">=": cells >= other,
        }
        mask = compare[operator]
    return _write(call, path, frame.filter(mask.fill_null(False)))


def sort_table_polars(call: ToolCall) -> dict[str, Any]:
    """Rows in order of a column, numbers by value, empty cells last; equal ones keep their order."""
    path = call.file("table")
    frame = read_table(path)
    column = find_column(frame.columns, call.string("column")) if call.given("column") else frame.columns[0]
    key = numbers_of(frame, column) if is_number_column(frame[column]) else frame[column]
    frame = frame[
        key.to_frame("key")
        .with_row_index("row")
        .sort("key", descending=bool(call.arguments["descending"]), nulls_last=True, maintain_order=True)["row"]
    ]
    if call.given("limit"):
        frame = frame.head(call.integer("limit", 1, 1_000_000_000))
    return _write(call, path, frame)


def select_columns_polars(call: ToolCall) -> dict[str, Any]:
    """Some columns, in the order in which they were asked for."""
    path = call.file("table")
    frame = read_table(path)
    wanted = [name.strip() for name in call.string("columns").split(",") if name.strip()]
    if not wanted:
        raise WorkerError(f"columns is empty; the table has {', '.join(frame.columns[:30])}")
    names = list(dict.fromkeys(find_column(frame.columns, name) for name in wanted))
    return _write(call, path, frame.select(names))


def convert_table_polars(call: ToolCall) -> dict[str, Any]:
    """The same table in another format."""
    form = call.string("format")
    frame = read_table(call.file("table"))
    return {"table": call.write(f".{form}", lambda target: write_table(frame, target, form))}


def deduplicate_table_polars(call: ToolCall) -> dict[str, Any]:
    """The first of the rows that are equal, or equal in one column."""
    path = call.file("table")
    frame = read_table(path)
    subset = [find_column(frame.columns, call.string("column"))] if call.given("column") else None
    return _write(call, path, frame.unique(subset, keep="first", maintain_order=True))


def table_to_markdown_pipes(call: ToolCall) -> dict[str, Any]:
    """The first rows as a Markdown table; pipes and line breaks within cells are kept from breaking it."""
    frame = read_table(call.file("table")).head(call.integer("rows", 1, 10_000))
    cells = [frame.columns, ["---"] * frame.width, *map(list, frame.cast(pl.String).fill_null("").rows())]
    lines = (
        "| " + " | ".join(re.sub(r"\s*[\r\n]+\s*", " ", c).replace("|", r"\|") for c in row) + " |" for row in cells
    )
    return {"text": call.write_text(".md", "\n".join(lines) + "\n")}


def _write(call: ToolCall, source: Path, frame: pl.DataFrame) -> dict[str, Any]:
    form = table_format(source)
    return {"table": call.write(f".{form}", lambda target: write_table(frame, target, form))}


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
