"""Table tools: three engines that agree, formats that keep their cells, and clear errors."""

import collections
import csv
import json
import pathlib
import statistics

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestai_jax.workers import WorkerError
from orchestai_jax.workers.table_rows import default_columns, find_column, tidy

ENGINES = ["polars", "sqlite", "python"]


def rows_of(path: pathlib.Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file, delimiter="\t" if path.suffix == ".tsv" else ","))


def records(path: pathlib.Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ","))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("function", ["sum", "mean", "count", "min", "max", "median"])
def test_aggregates_are_those_of_statistics(do, samples, engine, function):
    name = do(f"aggregate_table_{engine}", table="sales.csv", group_by="Region", column="total", function=function)
    groups = collections.defaultdict(list)
    for row in records(samples / "sales.csv"):
        groups[row["region"]].append(float(row["total"]))
    oracle = {"sum": sum, "mean": statistics.fmean, "count": len, "min": min, "max": max, "median": statistics.median}
    found = rows_of(samples / name["table"])
    assert found[0] == ["region", "count" if function == "count" else f"{function}_total"]
    assert [row[0] for row in found[1:]] == sorted(groups), "an empty region is a group of its own"
    for region, value in found[1:]:
        assert float(value) == pytest.approx(oracle[function](groups[region]), rel=1e-9)


def write(path: pathlib.Path, rows) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)


KEYS = st.sampled_from(["a", "A", "b c", "ü,x", 'q"q', "007", "7", "", "line\nbreak", "日本", "NaN", "null", "true"])
NUMBERS = st.one_of(
    st.just(""), st.integers(-(10**9), 10**9).map(str), st.floats(-1e6, 1e6).map(lambda x: f"{x:.4f}"), st.just("1e3")
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    left=st.lists(st.tuples(KEYS, NUMBERS, KEYS), min_size=1, max_size=12),
    right=st.lists(st.tuples(KEYS, NUMBERS), min_size=1, max_size=8),
    function=st.sampled_from(["sum", "mean", "count", "min", "max", "median"]),
    how=st.sampled_from(["inner", "left"]),
)
def test_the_engines_agree_on_any_table(do, tmp_path_factory, left, right, function, how):
    root = tmp_path_factory.mktemp("tables")
    write(root / "left.csv", [("key", "value", "note"), *left])
    write(root / "right.csv", [("key", "value"), *right])
    results = collections.defaultdict(list)
    for engine in ENGINES:
        jobs = {
            "aggregate": {"table": "left.csv", "group_by": "key", "column": "value", "function": function},
            "join": {"left": "left.csv", "right": "right.csv", "how": how},
            "describe": {"table": "left.csv"},
        }
        for job, arguments in jobs.items():
            task = f"{job}_tables" if job == "join" else f"{job}_table"
            values = do(f"{task}_{engine}", root=root, task_id=engine, **arguments)
            results[job].append(rows_of(root / values["table"]))
    for job, (polars, sqlite, python) in results.items():
        assert polars == python, job
        assert sqlite == python, job
    expected = []
    for key, value, note in left:
        matches = [other for other_key, other in right if other_key == key and key]
        expected += [[key, value, note, other] for other in matches]
        if not matches and how == "left":
            expected.append([key, value, note, ""])
    assert results["join"][0] == [["key", "value", "note", "value_right"], *expected]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("suffix", ["tsv", "jsonl", "parquet"])
def test_every_engine_reads_and_writes_every_format(do, tmp_path, engine, suffix):
    frame = pl.DataFrame({"kind": ["x", "y", "x", None], "n": [1, 2, 3, None], "ok": [True, False, True, None]})
    other = pl.DataFrame({"kind": ["x", "y"], "name": ["Ex", "Ypsilon"]})
    for table, file in ((frame, f"t.{suffix}"), (other, f"o.{suffix}")):
        match suffix:
            case "tsv":
                table.write_csv(tmp_path / file, separator="\t")
            case "jsonl":
                table.write_ndjson(tmp_path / file)
            case "parquet":
                table.write_parquet(tmp_path / file)

    def read(name):
        path = tmp_path / name
        assert path.suffix == f".{suffix}"
        match suffix:
            case "tsv":
                return pl.read_csv(path, separator="\t")
            case "jsonl":
                return pl.read_ndjson(path)
            case _:
                return pl.read_parquet(path)

    summed = read(
        do(f"aggregate_table_{engine}", root=tmp_path, table=f"t.{suffix}", group_by="kind", column="n")["table"]
    )
    assert summed["sum_n"].to_list() == [None, 4, 2]
    joined = read(
        do(f"join_tables_{engine}", root=tmp_path, left=f"t.{suffix}", right=f"o.{suffix}", how="left")["table"]
    )
    assert joined["name"].to_list() == ["Ex", "Ypsilon", "Ex", None]
    assert joined["n"].to_list() == [1, 2, 3, None]
    described = read(do(f"describe_table_{engine}", root=tmp_path, table=f"t.{suffix}")["table"])
    assert described["kind"].to_list() == ["text", "number", "text"]
    assert described["missing"].to_list() == [1, 1, 1]
    assert described["maximum"].cast(pl.String).to_list() == ["y", "3", "true"]


@pytest.mark.parametrize("engine", ENGINES)
def test_the_columns_left_out_are_found(do, samples, engine):
    assert rows_of(samples / do(f"aggregate_table_{engine}", table="sales.csv")["table"])[0] == [
        "region",
        "sum_quantity",
    ]
    joined = rows_of(samples / do(f"join_tables_{engine}", left="sales.csv", right="customers.csv")["table"])
    assert joined[0][-4:] == ["name", "city", "segment", "since"]
    assert len(joined) == 504


@pytest.mark.parametrize("engine", ENGINES)
def test_engines_refuse_the_same_things(do, tmp_path, engine):
    write(tmp_path / "a.csv", [("k", "v"), ("x", "1"), ("y", "n/a")])
    write(tmp_path / "b.csv", [("q", "w"), ("x", "1")])
    write(tmp_path / "wide.csv", [("k", "v"), ("x", "1", "2", "3")])
    write(tmp_path / "twice.csv", [("k", "k"), ("x", "1")])
    write(tmp_path / "nameless.csv", [("k", ""), ("x", "1")])
    for arguments, message in [
        ({"table": "a.csv", "group_by": "k", "column": "v"}, "column 'v' holds 'n/a', which is not a number"),
        ({"table": "a.csv", "group_by": "kk"}, "no column 'kk' in the table; its columns are k, v; did you mean 'k'"),
        ({"table": "a.csv"}, "no number column to aggregate"),
        ({"table": "wide.csv"}, "wide.csv"),
        ({"table": "twice.csv"}, "two columns are called 'k'"),
        ({"table": "nameless.csv"}, "column 2 has no name"),
        ({"table": "a.txt"}, "'a.txt' is not a table"),
    ]:
        (tmp_path / "a.txt").touch()
        with pytest.raises(WorkerError, match=message):
            do(f"aggregate_table_{engine}", root=tmp_path, **arguments)
    with pytest.raises(WorkerError, match="the tables share no column: the first has k, v; the second q, w"):
        do(f"join_tables_{engine}", root=tmp_path, left="a.csv", right="b.csv")


@pytest.mark.parametrize("engine", ENGINES)
def test_a_join_that_explodes_is_refused(do, tmp_path, engine, monkeypatch):
    monkeypatch.setattr("orchestai_jax.workers.table_python.MAX_OUTPUT_ROWS", 1000)
    write(tmp_path / "a.csv", [("k", "v"), *[("x", str(i)) for i in range(40)]])
    with pytest.raises(WorkerError, match="more than 1000 rows"):
        do(f"join_tables_{engine}", root=tmp_path, left="a.csv", right="a.csv")


@pytest.mark.parametrize(
    "arguments, keeps",
    [
        ({"column": "total", "operator": ">", "value": "1000"}, lambda row: float(row["total"]) > 1000),
        ({"column": "Total", "operator": "at most", "value": 100}, lambda row: float(row["total"]) <= 100),
        ({"column": "region", "value": "north"}, lambda row: row["region"] == "North"),
        ({"column": "region", "operator": "!=", "value": "North"}, lambda row: row["region"] not in ("North", "")),
        ({"column": "product", "operator": "contains", "value": "L"}, lambda row: "l" in row["product"].lower()),
        ({"column": "date", "operator": ">=", "value": "2024-12-01"}, lambda row: row["date"] >= "2024-12-01"),
        ({"column": "quantity", "value": 8.0}, lambda row: row["quantity"] == "8"),
        ({"column": "region", "value": "Nowhere"}, lambda row: False),
    ],
)
def test_filters_keep_the_rows_that_a_loop_keeps(do, samples, arguments, keeps):
    name = do("filter_table_polars", table="sales.csv", **arguments)["table"]
    assert records(samples / name) == [row for row in records(samples / "sales.csv") if keeps(row)]
    assert rows_of(samples / name)[0] == rows_of(samples / "sales.csv")[0]


def test_a_number_column_is_not_ordered_against_a_word(do):
    with pytest.raises(WorkerError, match="column 'total' holds numbers, but value 'many' is none"):
        do("filter_table_polars", table="sales.csv", column="total", operator=">", value="many")


def test_sorting_is_by_value_and_keeps_equal_rows_in_order(do, samples):
    rows = records(samples / "sales.csv")
    up = records(samples / do("sort_table_polars", table="sales.csv", column="total")["table"])
    assert up == sorted(rows, key=lambda row: float(row["total"]))
    top = records(
        samples / do("sort_table_polars", table="sales.csv", column="quantity", descending="yes", limit=5)["table"]
    )
    assert top == sorted(rows, key=lambda row: -int(row["quantity"]))[:5]
    by_region = records(samples / do("sort_table_polars", table="sales.csv", column="region")["table"])
    assert by_region[-1]["region"] == "", "empty cells come last"


def test_columns_come_in_the_order_asked_for(do, samples):
    name = do("select_columns_polars", table="sales.csv", columns="Total, date,total")["table"]
    assert rows_of(samples / name)[0] == ["total", "date"]
    with pytest.raises(WorkerError, match="no column 'profit'"):
        do("select_columns_polars", table="sales.csv", columns="profit")


def test_duplicates_go_and_the_first_stays(do, samples):
    rows = rows_of(samples / "sales.csv")
    assert rows_of(samples / do("deduplicate_table_polars", table="sales.csv")["table"]) == list(
        map(list, dict.fromkeys(map(tuple, rows)))
    )
    regions = records(samples / do("deduplicate_table_polars", table="sales.csv", column="region")["table"])
    assert sorted(row["region"] for row in regions) == ["", "East", "North", "South", "West"]


def test_converting_forth_and_back_keeps_every_cell(do, tmp_path):
    rows = [("zip", "name", "n", "x", "mixed"), ("00501", "Zoë", "1", "1.5", "7"), ("", 'a,"b"', "", "-2e3", "seven")]
    write(tmp_path / "t.csv", rows)
    parquet = do("convert_table_polars", root=tmp_path, table="t.csv", format="parquet")["table"]
    assert pl.read_parquet(tmp_path / parquet).schema == {
        "zip": pl.String, "name": pl.String, "n": pl.Int64, "x": pl.Float64, "mixed": pl.String,
    }  # fmt: skip
    lines = do("convert_table_polars", root=tmp_path, table=parquet, format="json lines")["table"]
    parsed = [json.loads(line) for line in (tmp_path / lines).read_text(encoding="utf-8").splitlines()]
    assert parsed[0] == {"zip": "00501", "name": "Zoë", "n": 1, "x": 1.5, "mixed": "7"}
    assert parsed[1] == {"zip": None, "name": 'a,"b"', "n": None, "x": -2000.0, "mixed": "seven"}
    tsv = do("convert_table_polars", root=tmp_path, table=lines, format="tsv", task_id="t2")["table"]
    assert rows_of(tmp_path / tsv)[1] == ["00501", "Zoë", "1", "1.5", "7"]


def test_other_separators_and_a_byte_order_mark_are_understood(do, tmp_path):
    (tmp_path / "de.csv").write_bytes("\ufeffname;menge\r\nÄpfel;3\r\nBirnen;4\r\n".encode())
    name = do("sort_table_polars", root=tmp_path, table="de.csv", column="menge", descending=True)["table"]
    assert rows_of(tmp_path / name) == [["name", "menge"], ["Birnen", "4"], ["Äpfel", "3"]]
    for engine in ENGINES:
        name = do(f"aggregate_table_{engine}", root=tmp_path, table="de.csv", task_id=engine)["table"]
        assert rows_of(tmp_path / name) == [["name", "sum_menge"], ["Birnen", "4"], ["Äpfel", "3"]]


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("latin.csv", "k,v\nü,1\n".encode("latin-1"), "latin.csv"),
        ("broken.jsonl", b'{"a": 1}\n{"a": \n', "broken.jsonl"),
        ("list.jsonl", b"[1, 2]\n", "list.jsonl"),
        ("nested.jsonl", b'{"a": {"b": 1}}\n', "nested.jsonl|plain cells"),
        ("cut.parquet", b"PAR1abc", "cut.parquet"),
    ],
)
def test_broken_tables_are_named(do, tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WorkerError, match=message) as caught:
        do("sort_table_polars", root=tmp_path, table=name)
    assert "\n" not in str(caught.value)


def test_columns_are_found_under_other_spellings():
    columns = ["Order ID", "unit_price", "Total", "total"]
    assert find_column(columns, "order_id") == "Order ID"
    assert find_column(columns, "Unit Price") == "unit_price"
    assert find_column(columns, "total") == "total"
    with pytest.raises(WorkerError, match="no column 'TOTAL'"):
        find_column(columns, "TOTAL")


def test_default_columns_prefer_categories_and_measures():
    rows = [("1", "2024", "a", "x", "5"), ("2", "2024", "b", "x", "6"), ("3", "2025", "a", "x", None)]
    assert default_columns(["id", "year", "kind", "constant", "amount"], rows) == ("kind", "amount")
    assert default_columns(["id", "year"], [("1", "2024")]) == (None, "id")


def test_results_are_tidied():
    assert [tidy(x) for x in (0.1 + 0.2, 3.0, None, float("nan"), 1 / 3)] == [0.3, 3, None, None, 0.333333333333]
