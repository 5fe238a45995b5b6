"""Tables as polars frames: reading and writing CSV, TSV, JSON lines and Parquet."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from orchestai_jax.workers.table_rows import INTEGER, NUMBER, read_header, table_format
from orchestai_jax.workers.worker import WorkerError


def read_table(path: Path, columns: list[str] | None = None) -> pl.DataFrame:
    """Read a table, or only some of its columns. Cells of CSV and TSV stay text: `007` passes through unchanged.

    Raises:
        WorkerError: not readable as the table that its suffix says.
    """
    form = table_format(path)
    try:
        match form:
            case "parquet":
                frame = pl.read_parquet(path, columns=columns)
            case "jsonl":
                frame = pl.read_ndjson(path, infer_schema_length=None)
                frame = frame.select(columns) if columns else frame
            case _:
                _, separator = read_header(path)
                frame = pl.read_csv(path, separator=separator, infer_schema=False, columns=columns)
    except (pl.exceptions.PolarsError, UnicodeDecodeError, OSError) as error:
        line = " ".join(str(error).split())[:200]
        raise WorkerError(f"{path.name!r} is not readable as {form}: {line}") from error
    nested = [name for name, dtype in frame.schema.items() if dtype.is_nested()]
    if nested:
        raise WorkerError(f"{path.name!r}: column {nested[0]!r} holds lists or objects; tables have plain cells")
    return frame


def column_names(path: Path) -> list[str]:
    """The names of a table's columns, without reading the whole table where the format allows it."""
    match table_format(path):
        case "csv" | "tsv":
            return read_header(path)[0]
        case _:
            return read_table(path).columns


def write_table(frame: pl.DataFrame, path: Path, form: str) -> None:
    """Write a table as csv, tsv, jsonl or parquet. Text cells that are numbers are typed where the format has types."""
    match form:
        case "parquet":
            typed(frame).write_parquet(path)
        case "jsonl":
            typed(frame).write_ndjson(path)
        case _:
            frame.write_csv(path, separator="\t" if form == "tsv" else ",")


def typed(frame: pl.DataFrame) -> pl.DataFrame:
    """Text columns whose cells are all integers or all numbers, as such; leading zeros keep a column text."""
    expressions: list[pl.Expr] = []
    for name, dtype in frame.schema.items():
        if dtype != pl.String:
            continue
        cells = frame[name].drop_nulls()
        if cells.len() == 0:
            continue
        if cells.str.contains(INTEGER).all():
            expressions.append(pl.col(name).cast(pl.Int64))
        elif cells.str.contains(NUMBER).all() and not cells.str.contains(r"^\s*[+-]?0\d").any():
            expressions.append(pl.col(name).str.strip_chars().cast(pl.Float64))
    return frame.with_columns(expressions)


def is_number_column(cells: pl.Series) -> bool:
    """Whether every cell that is not empty is a number, and there is one."""
    cells = cells.drop_nulls()
    if cells.len() == 0:
        return False
    return cells.dtype.is_numeric() or (cells.dtype == pl.String and bool(cells.str.contains(NUMBER).all()))


def numbers_of(frame: pl.DataFrame, column: str) -> pl.Series:
    """A column as float64, empty cells null.

    Raises:
        WorkerError: a cell is not a number.
    """
    cells = frame[column]
    if cells.dtype == pl.String:
        wrong = cells.filter(~cells.str.contains(NUMBER).fill_null(True))
        if wrong.len():
            raise WorkerError(f"column {column!r} holds {str(wrong[0])[:40]!r}, which is not a number")
        return cells.str.strip_chars().cast(pl.Float64)
    if not cells.dtype.is_numeric():
        raise WorkerError(f"column {column!r} holds {cells.dtype}, not numbers")
    return cells.cast(pl.Float64)
