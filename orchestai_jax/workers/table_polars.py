"""Aggregation, joins and descriptions by polars: columnar, in a thread pool over every core."""

from __future__ import annotations

from typing import Any

import polars as pl

from orchestai_jax.workers.local_tool import ToolCall
from orchestai_jax.workers.table_files import is_number_column, numbers_of, read_table
from orchestai_jax.workers.table_python import check_join_size, choose_columns, write_result
from orchestai_jax.workers.table_rows import joined_columns, read_rows, shared_column, tidy


def aggregate_table_polars(call: ToolCall) -> dict[str, Any]:
    """One row a group, ordered by group."""
    path, function = call.file("table"), call.string("function")
    columns, rows = read_rows(path)
    group, column = choose_columns(call, columns, rows)
    frame = read_table(path, list(dict.fromkeys(name for name in (group, column) if name is not None)))
    if column is None:
        result = frame.group_by(group).agg(pl.len().alias("value"))
        label = "count"
    else:
        values = numbers_of(frame, column)
        frame = pl.DataFrame({"group": frame[group], "value": values})
        # a sum over no values is null here as in SQL, not 0
        expression = getattr(pl.col("value").drop_nulls(), function)()
        result = frame.group_by("group").agg(pl.when(pl.col("value").count() > 0).then(expression).alias("value"))
        label = f"{function}_{column}"
    pairs = sorted(result.iter_rows(), key=lambda row: "" if row[0] is None else str(row[0]))
    return write_result(call, path, [group, label], [(key, tidy(value)) for key, value in pairs])


def join_tables_polars(call: ToolCall) -> dict[str, Any]:
    """Hash join in the order of the left table; empty keys match nothing."""
    left_path, right_path = call.file("left"), call.file("right")
    left, right = read_table(left_path), read_table(right_path)
    left_key, right_key = shared_column(left.columns, right.columns, call.string("key"))
    names = joined_columns(left.columns, right.columns, right_key)
    left_keys, right_keys = left[left_key], right[right_key]
    if left_keys.dtype != right_keys.dtype:
        left_keys, right_keys = left_keys.cast(pl.String), right_keys.cast(pl.String)
    left = left.rename(dict(zip(left.columns, names, strict=False))).with_columns(left_keys.alias("\0key"))
    right = right.drop(right_key).rename(
        dict(zip((c for c in right.columns if c != right_key), names[len(left.columns) - 1 :], strict=True))
    )
    right = right.with_columns(right_keys.alias("\0key"))
    matches = left.group_by("\0key").len().join(right.group_by("\0key").len(), on="\0key")
    check_join_size(int((matches["len"].cast(pl.UInt64) * matches["len_right"].cast(pl.UInt64)).sum()) + left.height)
    how = call.string("how")
    joined = left.join(right, on="\0key", how="left" if how == "left" else "inner", maintain_order="left_right")
    joined = joined.drop("\0key").select(names)
    return write_result(call, left_path, names, joined)


def describe_table_polars(call: ToolCall) -> dict[str, Any]:
    """One row a column: kind, count, missing, distinct, mean, sample deviation, minimum, maximum."""
    path = call.file("table")
    frame = read_table(path)
    rows: list[list[Any]] = []
    for name in frame.columns:
        cells = frame[name]
        present = cells.drop_nulls()
        head = [name, present.len(), cells.null_count(), present.n_unique()]
        if is_number_column(cells):
            numbers = numbers_of(frame, name).drop_nulls()
            deviation = numbers.std() if numbers.len() > 1 else None
            statistics = [tidy(value) for value in (numbers.mean(), deviation, numbers.min(), numbers.max())]  # type: ignore[arg-type]
            rows.append([head[0], "number", *head[1:], *statistics])
        else:
            texts = present.cast(pl.String)
            rows.append([head[0], "text", *head[1:], None, None, texts.min(), texts.max()])
    from orchestai_jax.workers.table_python import DESCRIPTION

    return write_result(call, path, DESCRIPTION, rows)
