"""Aggregation, joins and descriptions in plain Python: nothing to start, one pass over the rows."""

from __future__ import annotations

import itertools
import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from orchestai_jax.workers.local_tool import ToolCall
from orchestai_jax.workers.table_rows import (
    MAX_OUTPUT_ROWS,
    default_columns,
    find_column,
    is_number,
    joined_columns,
    read_rows,
    shared_column,
    table_format,
    tidy,
    to_number,
    write_rows,
)
from orchestai_jax.workers.worker import WorkerError

SAMPLE_ROWS = 1000
"""Rows that are looked at to find the columns that were not named."""

DESCRIPTION = ["column", "kind", "count", "missing", "distinct", "mean", "deviation", "minimum", "maximum"]


def aggregate_table_python(call: ToolCall) -> dict[str, Any]:
    """One row a group, ordered by group."""
    path, function = call.file("table"), call.string("function")
    columns, rows = read_rows(path)
    sample = list(itertools.islice(rows, SAMPLE_ROWS))
    group, column = choose_columns(call, columns, iter(sample))
    key_at = columns.index(group)
    results: dict[Any, Any] = {}
    if column is None:
        for row in itertools.chain(sample, rows):
            results[row[key_at]] = results.get(row[key_at], 0) + 1
    else:
        value_at = columns.index(column)
        groups: dict[Any, list[float]] = defaultdict(list)
        for row in itertools.chain(sample, rows):
            values = groups[row[key_at]]
            if row[value_at] is not None:
                values.append(to_number(row[value_at], column))
        aggregate = {
            "sum": math.fsum,
            "mean": lambda v: math.fsum(v) / len(v),
            "min": min,
            "max": max,
            "median": statistics.median,
        }[function]
        results = {key: aggregate(values) if values else None for key, values in groups.items()}
    label = "count" if column is None else f"{function}_{column}"
    pairs = sorted(results.items(), key=lambda item: "" if item[0] is None else str(item[0]))
    return write_result(call, path, [group, label], [(key, tidy(value)) for key, value in pairs])


def join_tables_python(call: ToolCall) -> dict[str, Any]:
    """Hash join in the order of the left table; empty keys match nothing."""
    left_path, right_path = call.file("left"), call.file("right")
    left_columns, left_rows = read_rows(left_path)
    right_columns, right_rows = read_rows(right_path)
    left_key, right_key = shared_column(left_columns, right_columns, call.string("key"))
    left_at, right_at = left_columns.index(left_key), right_columns.index(right_key)
    table: dict[Any, list[list[Any]]] = defaultdict(list)
    for row in right_rows:
        if row[right_at] is not None:
            table[row[right_at]].append([*row[:right_at], *row[right_at + 1 :]])
    empty = [[None] * (len(right_columns) - 1)] if call.string("how") == "left" else []

    def joined() -> Iterator[Sequence[Any]]:
        count = 0
        for row in left_rows:
            for other in table.get(row[left_at], empty):
                count += 1
                check_join_size(count)
                yield [*row, *other]

    return write_result(call, left_path, joined_columns(left_columns, right_columns, right_key), joined())


def describe_table_python(call: ToolCall) -> dict[str, Any]:
    """One row a column: kind, count, missing, distinct, mean, sample deviation, minimum, maximum."""
    path = call.file("table")
    columns, rows = read_rows(path)
    cells: list[list[Any]] = [[] for _ in columns]
    for row in rows:
        for column, cell in zip(cells, row, strict=True):
            column.append(cell)
    result = []
    for name, column in zip(columns, cells, strict=True):
        present = [cell for cell in column if cell is not None]
        head = [len(present), len(column) - len(present), len(Counter(present))]
        if present and all(is_number(cell) for cell in present):
            numbers = [float(cell) for cell in present]
            mean = math.fsum(numbers) / len(numbers)
            squares = math.fsum((number - mean) ** 2 for number in numbers)
            deviation = math.sqrt(squares / (len(numbers) - 1)) if len(numbers) > 1 else None
            result.append(
                [name, "number", *head, *(tidy(value) for value in (mean, deviation, min(numbers), max(numbers)))]
            )
        else:
            texts = [as_text(cell) for cell in present]
            result.append([name, "text", *head, None, None, min(texts, default=None), max(texts, default=None)])
    return write_result(call, path, DESCRIPTION, result)


def choose_columns(call: ToolCall, columns: list[str], rows: Iterator[Sequence[Any]]) -> tuple[str, str | None]:
    """The columns to group by and to aggregate: those named, or else the first text and the first number column.

    The second is None for the function `count`, which counts rows.

    Raises:
        WorkerError: a named column does not exist, or none of the kind was found.
    """
    text, number = default_columns(columns, list(itertools.islice(rows, SAMPLE_ROWS)))
    group = find_column(columns, call.string("group_by")) if call.given("group_by") else text or columns[0]
    if call.string("function") == "count":
        return group, None
    if call.given("column"):
        return group, find_column(columns, call.string("column"))
    if number is None or number == group:
        raise WorkerError(f"no number column to aggregate; the table has {', '.join(columns[:30])}")
    return group, number


def check_join_size(rows: int) -> None:
    """Refuse a join that explodes."""
    if rows > MAX_OUTPUT_ROWS:
        raise WorkerError(f"the join gives more than {MAX_OUTPUT_ROWS} rows; its key is not unique enough")


def as_text(value: Any) -> str:
    """A cell as text, booleans as in JSON."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def write_result(call: ToolCall, source: Path, columns: Sequence[str], rows: Any) -> dict[str, Any]:
    """Write rows, or a polars frame, in the format of the source table."""
    form = table_format(source)

    def write(target: Path) -> None:
        if hasattr(rows, "write_csv"):
            from orchestai_jax.workers.table_files import write_table

            write_table(rows, target, form)
        else:
            write_rows(columns, rows, target, form)

    return {"table": call.write(f".{form}", write)}
