"""Aggregation, joins and descriptions by SQLite in memory: one core, written in SQL."""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from orchestai_jax.workers.local_tool import ToolCall
from orchestai_jax.workers.table_python import (
    DESCRIPTION,
    SAMPLE_ROWS,
    as_text,
    check_join_size,
    choose_columns,
    write_result,
)
from orchestai_jax.workers.table_rows import joined_columns, not_a_number, read_rows, shared_column, tidy

_AGGREGATES = {
    "sum": "SELECT k, SUM(v) FROM t GROUP BY k",
    "mean": "SELECT k, AVG(v) FROM t GROUP BY k",
    "min": "SELECT k, MIN(v) FROM t GROUP BY k",
    "max": "SELECT k, MAX(v) FROM t GROUP BY k",
    "median": """
        WITH ranked AS (SELECT k, v, ROW_NUMBER() OVER (PARTITION BY k ORDER BY v) AS place,
                               COUNT(*) OVER (PARTITION BY k) AS n FROM t WHERE v IS NOT NULL),
             medians AS (SELECT k, AVG(v) AS m FROM ranked WHERE place IN ((n + 1) / 2, (n + 2) / 2) GROUP BY k)
        SELECT groups.k, m FROM (SELECT DISTINCT k FROM t) AS groups LEFT JOIN medians ON groups.k IS medians.k""",
}


def aggregate_table_sqlite(call: ToolCall) -> dict[str, Any]:
    """One row a group, ordered by group."""
    path, function = call.file("table"), call.string("function")
    columns, rows = read_rows(path)
    sample = list(itertools.islice(rows, SAMPLE_ROWS))
    group, column = choose_columns(call, columns, iter(sample))
    rows = itertools.chain(sample, rows)
    key_at = columns.index(group)
    with _database() as database:
        if column is None:
            database.execute("CREATE TABLE t (k)")
            database.executemany("INSERT INTO t VALUES (?)", ((row[key_at],) for row in rows))
            result = database.execute("SELECT k, COUNT(*) FROM t GROUP BY k").fetchall()
        else:
            value_at = columns.index(column)
            # numeric affinity turns texts that are numbers into numbers and leaves the others text
            database.execute("CREATE TABLE t (k, v NUMERIC)")
            database.executemany("INSERT INTO t VALUES (?, ?)", ((row[key_at], row[value_at]) for row in rows))
            wrong = database.execute("SELECT v FROM t WHERE typeof(v) NOT IN ('integer', 'real', 'null') LIMIT 1")
            if (row := wrong.fetchone()) is not None:
                raise not_a_number(row[0], column)
            result = database.execute(_AGGREGATES[function]).fetchall()
    label = "count" if column is None else f"{function}_{column}"
    pairs = sorted(result, key=lambda row: "" if row[0] is None else str(row[0]))
    return write_result(call, path, [group, label], [(key, tidy(value)) for key, value in pairs])


def join_tables_sqlite(call: ToolCall) -> dict[str, Any]:
    """Join by an index on the right table, in the order of the left table; empty keys match nothing."""
    left_path, right_path = call.file("left"), call.file("right")
    left_columns, left_rows = read_rows(left_path)
    right_columns, right_rows = read_rows(right_path)
    left_key, right_key = shared_column(left_columns, right_columns, call.string("key"))
    left_at, right_at = left_columns.index(left_key), right_columns.index(right_key)
    kind = "LEFT JOIN" if call.string("how") == "left" else "JOIN"
    with _database() as database:
        _load(database, "l", len(left_columns), left_rows)
        _load(database, "r", len(right_columns), right_rows)
        database.execute(f"CREATE INDEX i ON r (c{right_at})")
        wanted = [f"l.c{i}" for i in range(len(left_columns))]
        wanted += [f"r.c{i}" for i in range(len(right_columns)) if i != right_at]
        cursor = database.execute(
            f"SELECT {', '.join(wanted)} FROM l {kind} r ON l.c{left_at} = r.c{right_at} ORDER BY l.rowid, r.rowid"
        )

        def joined() -> Iterator[Sequence[Any]]:
            for count, row in enumerate(cursor, 1):
                check_join_size(count)
                yield row

        return write_result(call, left_path, joined_columns(left_columns, right_columns, right_key), joined())


def describe_table_sqlite(call: ToolCall) -> dict[str, Any]:
    """One row a column: kind, count, missing, distinct, mean, sample deviation, minimum, maximum."""
    path = call.file("table")
    columns, rows = read_rows(path)
    result: list[list[Any]] = []
    with _database() as database:
        database.execute("CREATE TABLE n (v NUMERIC)")
        _load(database, "t", len(columns), rows)
        for i, name in enumerate(columns):
            total, count, distinct = database.execute(
                f"SELECT COUNT(*), COUNT(c{i}), COUNT(DISTINCT c{i}) FROM t"
            ).fetchone()
            head = [count, total - count, distinct]
            database.execute("DELETE FROM n")
            database.execute(f"INSERT INTO n SELECT c{i} FROM t WHERE c{i} IS NOT NULL")
            texts = database.execute("SELECT COUNT(*) FROM n WHERE typeof(v) NOT IN ('integer', 'real')").fetchone()[0]
            if count and not texts:
                mean, low, high = database.execute("SELECT AVG(v), MIN(v), MAX(v) FROM n").fetchone()
                squares = database.execute("SELECT SUM((v - ?1) * (v - ?1)) FROM n", (mean,)).fetchone()[0]
                deviation = (squares / (count - 1)) ** 0.5 if count > 1 else None
                result.append([name, "number", *head, *(tidy(value) for value in (mean, deviation, low, high))])
            else:
                low, high = database.execute(f"SELECT MIN(c{i}), MAX(c{i}) FROM t").fetchone()
                bounds = [None if bound is None else as_text(bound) for bound in (low, high)]
                result.append([name, "text", *head, None, None, *bounds])
    return write_result(call, path, DESCRIPTION, result)


@contextlib.contextmanager
def _database() -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = OFF")
        database.execute("BEGIN")
        yield database


def _load(database: sqlite3.Connection, table: str, width: int, rows: Iterable[Sequence[Any]]) -> None:
    names = ", ".join(f"c{i}" for i in range(width))
    database.execute(f"CREATE TABLE {table} ({names})")
    first = next(iter(rows := iter(rows)), None)
    if first is None:
        return
    rows = itertools.chain([first], rows)
    if not all(isinstance(cell, str | None) for cell in first):  # JSON and Parquet: SQLite would make true a 1
        rows = ([as_text(cell) if isinstance(cell, bool) else cell for cell in row] for row in rows)
    database.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * width)})", rows)
