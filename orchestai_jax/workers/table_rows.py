"""Tables as rows of plain Python values; needs no library but for Parquet."""

from __future__ import annotations

import csv
import difflib
import itertools
import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from orchestai_jax.workers.worker import WorkerError

MAX_TABLE_BYTES = 500_000_000
MAX_OUTPUT_ROWS = 5_000_000
"""A join that would give more rows than this is refused."""

FORMATS: dict[str, str] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}
"""File name suffix → table format."""

NUMBER = r"^\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\s*$"
"""What counts as a number in a text cell; `nan` and `inf` do not."""

INTEGER = r"^-?(?:0|[1-9]\d{0,17})$"
"""What counts as an integer that may be stored as one: no leading zeros (postal codes, account numbers)."""

_NUMBER = re.compile(NUMBER, re.ASCII)


def table_format(path: Path) -> str:
    """The format of a table file by its suffix; refuses empty and huge files.

    Raises:
        WorkerError: another suffix, an empty file, or one that is too large.
    """
    form = FORMATS.get(path.suffix.lower())
    if form is None:
        raise WorkerError(f"{path.name!r} is not a table; tables are {', '.join(FORMATS)} files")
    size = path.stat().st_size
    if size == 0:
        raise WorkerError(f"{path.name!r} is empty")
    if size > MAX_TABLE_BYTES:
        raise WorkerError(f"{path.name!r} has {size // 1_000_000} MB; at most {MAX_TABLE_BYTES // 1_000_000} are read")
    return form


def read_header(path: Path) -> tuple[list[str], str]:
    """Column names and separator of a CSV or TSV file (comma, semicolon, tab or bar, whichever the header has most).

    Raises:
        WorkerError: not UTF-8, or a column name is missing or occurs twice.
    """
    separator = "\t"
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            if FORMATS[path.suffix.lower()] == "csv":
                first = file.readline(1_000_000)
                separator = max(",;\t|", key=first.count)
                file.seek(0)
            columns = next(csv.reader(file, delimiter=separator), [])
    except (UnicodeDecodeError, csv.Error) as error:
        raise WorkerError(f"{path.name!r} is not a UTF-8 text table ({error})") from error
    if "\0" in "".join(columns):
        raise WorkerError(f"{path.name!r} is a binary file, not a text table")
    for position, name in enumerate(columns):
        if not name.strip():
            raise WorkerError(f"{path.name!r}: column {position + 1} has no name in the first line")
        if name in columns[:position]:
            raise WorkerError(f"{path.name!r}: two columns are called {name!r}")
    if not columns:
        raise WorkerError(f"{path.name!r} has no header line")
    return columns, separator


def read_rows(path: Path) -> tuple[list[str], Iterator[Sequence[Any]]]:
    """Column names and the rows, read as they are asked for. Cells of CSV and TSV are str, None where empty.

    Raises:
        WorkerError: not readable as the table that its suffix says; while iterating too, naming the line.
    """
    form = table_format(path)
    if form == "parquet":
        from orchestai_jax.workers.table_files import read_table

        frame = read_table(path)
        return frame.columns, frame.iter_rows()
    if form == "jsonl":
        rows = _json_rows(path)
        first = next(rows, None)
        if first is None:
            raise WorkerError(f"{path.name!r} has no rows")
        columns = list(first)
        return columns, ([row.get(c) for c in columns] for row in itertools.chain([first], rows))
    columns, separator = read_header(path)
    return columns, _csv_rows(path, separator, len(columns))


def _csv_rows(path: Path, separator: str, width: int) -> Iterator[Sequence[Any]]:
    padding = [None] * width
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=separator)
            next(reader, None)
            for row in reader:
                if len(row) == width:
                    yield [cell or None for cell in row] if "" in row else row
                elif len(row) > width:
                    raise WorkerError(
                        f"{path.name!r} line {reader.line_num}: {len(row)} cells, but the header has {width} columns"
                    )
                elif row:
                    yield [*(cell or None for cell in row), *padding[len(row) :]]
    except (UnicodeDecodeError, csv.Error) as error:
        raise WorkerError(f"{path.name!r} is not a UTF-8 text table ({error})") from error


def _json_rows(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                except ValueError as error:
                    raise WorkerError(f"{path.name!r} line {number} is not JSON ({error})") from error
                if not isinstance(row, dict):
                    raise WorkerError(f"{path.name!r} line {number} is not a JSON object")
                yield row
    except UnicodeDecodeError as error:
        raise WorkerError(f"{path.name!r} is not UTF-8 text ({error})") from error


def write_rows(columns: Sequence[str], rows: Iterable[Sequence[Any]], path: Path, form: str) -> None:
    """Write rows in a format: csv, tsv, jsonl or (with polars) parquet. None becomes an empty cell."""
    if form == "parquet":
        import polars

        data = list(rows)
        frame = polars.DataFrame(data, schema=list(columns), orient="row", infer_schema_length=None)
        frame.write_parquet(path)
    elif form == "jsonl":
        with path.open("w", encoding="utf-8") as file:
            for row in rows:
                file.write(json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False) + "\n")
    else:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, delimiter="\t" if form == "tsv" else ",", lineterminator="\n")
            writer.writerow(columns)
            writer.writerows(rows)


def find_column(columns: Sequence[str], wanted: str) -> str:
    """The column that is called so: exactly, or else ignoring case, blanks, underscores and dashes.

    Raises:
        WorkerError: no column, or more than one, is called so.
    """
    if wanted in columns:
        return wanted

    def plain(name: str) -> str:
        return re.sub(r"[\s_-]+", "", name).casefold()

    found = [column for column in columns if plain(column) == plain(wanted)]
    if len(found) == 1:
        return found[0]
    near = difflib.get_close_matches(wanted, columns, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise WorkerError(f"no column {wanted!r} in the table; its columns are {', '.join(columns[:30])}{hint}")


def shared_column(left: Sequence[str], right: Sequence[str], wanted: str) -> tuple[str, str]:
    """The key columns of a join: the wanted one in both tables, or else the first that both have.

    Raises:
        WorkerError: the wanted column is not in both, or no column is shared.
    """
    if wanted:
        return find_column(left, wanted), find_column(right, wanted)
    for column in left:
        if column in right:
            return column, column
    raise WorkerError(
        f"the tables share no column: the first has {', '.join(left[:20])}; the second {', '.join(right[:20])}"
    )


def joined_columns(left: Sequence[str], right: Sequence[str], right_key: str) -> list[str]:
    """Names of a join's columns: the left ones, then the right ones without the key; `_right` where names are equal."""
    names = list(left)
    for column in right:
        if column == right_key:
            continue
        while column in names:
            column += "_right"
        names.append(column)
    return names


def is_number(value: Any) -> bool:
    """Whether a cell is a finite number, or a text that is one."""
    if isinstance(value, str):
        return _NUMBER.match(value) is not None
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def to_number(value: Any, column: str) -> float:
    """A cell as a number.

    Raises:
        WorkerError: it is none.
    """
    if not is_number(value):
        raise not_a_number(value, column)
    return float(value)


def not_a_number(value: Any, column: str) -> WorkerError:
    """The error for a cell that should be a number."""
    return WorkerError(f"column {column!r} holds {str(value)[:40]!r}, which is not a number")


def default_columns(columns: Sequence[str], sample: Sequence[Sequence[Any]]) -> tuple[str | None, str | None]:
    """A column to group by and a column to compute with: (text column, number column), None where there is none.

    The first is the text column with the fewest distinct cells, but more than one, in the sample; the second the first
    column whose cells are all numbers; one whose name ends in `id`, `key`, `code`, `zip` or `year` only where there is
    no other. Empty cells do not count.
    """
    texts: dict[str, int] = {}
    numbers: list[str] = []
    for position, column in enumerate(columns):
        cells = [row[position] for row in sample if row[position] is not None]
        if cells and all(is_number(cell) for cell in cells):
            numbers.append(column)
        else:
            texts[column] = len(set(map(str, cells)))
    measures = [c for c in numbers if not re.search(r"(?:^|[\s_-])(?:id|key|code|zip|year|no|nr)$", c.lower())]
    text = min(texts, key=lambda c: (texts[c] < 2, texts[c]), default=None)
    return text, (measures or numbers or [None])[0]


def tidy(value: float | None) -> float | int | None:
    """A result rounded to 12 significant digits (engines sum in different orders), whole numbers as int."""
    if value is None or not math.isfinite(value):
        return None
    rounded = float(f"{value:.12g}")
    return int(rounded) if rounded == int(rounded) and abs(rounded) < 1e15 else rounded
