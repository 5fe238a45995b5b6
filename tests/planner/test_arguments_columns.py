"""Columns, conditions, functions and orders of tables, and the columns of tables that are still to be made."""

import pytest
from planned_arguments import check, named, shown

from orchestai_jax.planner.arguments import fill_arguments
from orchestai_jax.planner.arguments.known_columns import declared_columns
from orchestai_jax.quickstart.catalog import load_embedded_catalog

CASES = [
    # conditions
    (
        "Remove duplicates from people.csv by email and keep rows with age of at least 30",
        ["deduplicate_table", "filter_table"],
        None,
        [
            {"table": "people.csv", "column": "email"},
            {"table": "<t1.table>", "column": "age", "operator": ">=", "value": 30},
        ],
    ),
    (
        "Keep the rows of orders.csv where the status is not shipped",
        ["filter_table"],
        [],
        [{"table": "orders.csv", "column": "status", "operator": "!=", "value": "shipped"}],
    ),
    (
        "Drop all rows with a price below 2.50 from sales.csv, then average price by region",
        ["filter_table", "aggregate_table"],
        None,
        [
            {"table": "sales.csv", "column": "price", "operator": ">=", "value": 2.5},
            {"table": "<t1.table>", "group_by": "region", "column": "price", "function": "mean"},
        ],
    ),
    (
        "Please give me the customers from customers.csv whose country is 'United Kingdom', only name and email",
        ["filter_table", "select_columns"],
        None,
        [
            {"table": "customers.csv", "column": "country", "operator": "==", "value": "United Kingdom"},
            {"table": "<t1.table>", "columns": "name,email"},
        ],
    ),
    (
        "orders.csv: rows with more than 10 units",
        ["filter_table"],
        [],
        [{"table": "orders.csv", "column": "units", "operator": ">", "value": 10}],
    ),
    (
        "Show rows of weather.csv with a temperature of 30 or more",
        ["filter_table"],
        [],
        [{"table": "weather.csv", "column": "temperature", "operator": ">=", "value": 30}],
    ),
    (
        "filter log.csv: unit price<=9.99",
        ["filter_table"],
        [],
        [{"table": "log.csv", "column": "unit price", "operator": "<=", "value": 9.99}],
    ),
    (
        "Only rows of people.csv where city contains 'ber'",
        ["filter_table"],
        [],
        [{"table": "people.csv", "column": "city", "operator": "contains", "value": "ber"}],
    ),
    # columns, enumerations, booleans
    (
        "Total revenue per region in sales.csv, top 5 regions by revenue",
        ["aggregate_table", "sort_table"],
        None,
        [
            {"table": "sales.csv", "group_by": "region", "column": "revenue", "function": "sum"},
            {"table": "<t1.table>", "column": "revenue", "descending": True, "limit": 5},
        ],
    ),
    (
        "Sort cities.csv by population, largest first, keep the first 5 and plot them",
        ["sort_table", "plot_table"],
        None,
        [
            {"table": "cities.csv", "column": "population", "descending": True, "limit": 5},
            {"table": "<t1.table>"},
        ],
    ),
    (
        "order cities.csv by name from A to Z",
        ["sort_table"],
        [],
        [{"table": "cities.csv", "column": "name", "descending": False}],
    ),
    (
        "Left join a.csv with b.csv using id, then dedupe on email and export as json lines",
        ["join_tables", "deduplicate_table", "convert_table"],
        None,
        [
            {"left": "a.csv", "right": "b.csv", "key": "id", "how": "left"},
            {"table": "<t1.table>", "column": "email"},
            {"table": "<t2.table>", "format": "jsonl"},
        ],
    ),
    (
        "Join orders.csv with customers.csv on customer_id, keep only the columns name, total and city",
        ["join_tables", "select_columns"],
        None,
        [
            {"left": "orders.csv", "right": "customers.csv", "key": "customer_id"},
            {"table": "<t1.table>", "columns": "name,total,city"},
        ],
    ),
    (
        "Make a histogram of the price column of sales.csv titled Prices",
        ["plot_table"],
        [],
        [{"table": "sales.csv", "y": "price", "kind": "histogram", "title": "Prices"}],
    ),
    (
        "Convert photo.png to photo.jpg",
        ["convert_image"],
        [],
        [{"image": "photo.png", "format": "jpeg"}],
    ),
    ("Change the picture old.png from PNG to JPEG", ["convert_image"], [], [{"image": "old.png", "format": "jpeg"}]),
    (
        "Which words occur most often in notes.txt? Give me the top 10 as a csv",
        ["word_frequencies", "convert_table"],
        None,
        [{"text": "notes.txt", "count": 10}, {"table": "<t1.table>", "format": "csv"}],
    ),
    (
        "Convert notes.md to HTML with the title 'My Notes' and compute its SHA-1 checksum",
        ["markdown_to_html", "checksum_file"],
        None,
        [{"text": "notes.md", "title": "My Notes"}, {"file": "<t1.document>", "algorithm": "sha1"}],
    ),
    # words for a computed number that are columns
    (
        "What does each shop bring in (sum of total)? See shops.csv.",
        ["aggregate_table"],
        [],
        [{"table": "shops.csv", "group_by": "shop", "column": "total", "function": "sum"}],
    ),
    (
        "Average total by month in orders.csv, sorted by month",
        ["aggregate_table", "sort_table"],
        None,
        [
            {"table": "orders.csv", "group_by": "month", "column": "total", "function": "mean"},
            {"table": "<t1.table>", "column": "month"},
        ],
    ),
    (
        "What is the average of the count column for each region in visits.csv?",
        ["aggregate_table"],
        [],
        [{"table": "visits.csv", "group_by": "region", "column": "count", "function": "mean"}],
    ),
    (
        "Sales per city in sales.csv: add up total by city",
        ["aggregate_table"],
        [],
        [{"table": "sales.csv", "group_by": "city", "column": "total", "function": "sum"}],
    ),
    (
        "I need the units added up per store from stock.csv",
        ["aggregate_table"],
        [],
        [{"table": "stock.csv", "group_by": "store", "column": "units", "function": "sum"}],
    ),
    (
        "mean price per category and per brand in shop.csv",
        ["aggregate_table", "aggregate_table"],
        [],
        [
            {"table": "shop.csv", "group_by": "category", "column": "price", "function": "mean"},
            {"table": "shop.csv", "group_by": "brand", "column": "price", "function": "mean"},
        ],
    ),
    (
        "Join a.csv with b.csv. I want the sum of price once by brand and once by town.",
        ["join_tables", "aggregate_table", "aggregate_table"],
        [(0, 1), (0, 2)],
        [
            {"left": "a.csv", "right": "b.csv"},
            {"table": "<t1.table>", "group_by": "brand", "column": "price", "function": "sum"},
            {"table": "<t1.table>", "group_by": "town", "column": "price", "function": "sum"},
        ],
    ),
    # words that are no columns
    (
        "I want the items of stock.csv arranged and listed by weight, heaviest first, and the units summed per shelf.",
        ["sort_table", "aggregate_table"],
        [],
        [
            {"table": "stock.csv", "column": "weight", "descending": True},
            {"table": "stock.csv", "group_by": "shelf", "column": "units", "function": "sum"},
        ],
    ),
    (
        "Plot visits.csv as a line: guests by month. Quality over speed. I need it by Friday.",
        ["plot_table"],
        [],
        [{"table": "visits.csv", "x": "month", "y": "guests", "kind": "line"}],
    ),
    (
        "Draw how rating varies by month in films.csv, on paper it looked linear",
        ["plot_table"],
        [],
        [{"table": "films.csv", "x": "month", "y": "rating"}],
    ),
    (
        "Line chart of temperature over time from weather.tsv, by e-mail, send it before noon.",
        ["plot_table"],
        [],
        [{"table": "weather.tsv", "x": "time", "y": "temperature", "kind": "line"}],
    ),
    (
        "My boss wants stock by salesperson from shop.csv",
        ["aggregate_table"],
        [],
        [{"table": "shop.csv", "group_by": "salesperson", "column": "stock"}],
    ),
    (
        "staff.csv with nothing but name and town, exported as tsv",
        ["select_columns", "convert_table"],
        None,
        [{"table": "staff.csv", "columns": "name,town"}, {"table": "<t1.table>", "format": "tsv"}],
    ),
    # an order is no maximum
    (
        "Sum of price per brand in shop.csv, highest first",
        ["aggregate_table"],
        [],
        [{"table": "shop.csv", "group_by": "brand", "column": "price", "function": "sum"}],
    ),
    (
        "Sort films.csv by rating, the weakest films first",
        ["sort_table"],
        [],
        [{"table": "films.csv", "column": "rating", "descending": False}],
    ),
    (
        "The ten wettest days of weather.tsv, by rain",
        ["sort_table"],
        [],
        [{"table": "weather.tsv", "column": "rain", "descending": True, "limit": 10}],
    ),
    # columns of a table that is still to be made
    (
        "Bar chart of the word frequencies in science.txt. Quality over speed.",
        ["word_frequencies", "plot_table"],
        None,
        [{"text": "science.txt"}, {"table": "<t1.table>", "kind": "bar"}],
    ),
    (
        "Count the words of memo.txt, sort them by Count and draw profit against store.",
        ["word_frequencies", "sort_table", "plot_table"],
        None,
        [{"text": "memo.txt"}, {"table": "<t1.table>", "column": "count"}, {"table": "<t2.table>"}],
    ),
    (
        "Tabulate the word frequencies in readme.md, then alphabetize the result by price.",
        ["word_frequencies", "sort_table"],
        None,
        [{"text": "readme.md"}, {"table": "<t1.table>"}],
    ),
    (
        "Statistics of weather.tsv and a bar chart of rain by month, in one report.",
        ["describe_table", "plot_table", "build_report"],
        [(0, 2), (1, 2)],
        [
            {"table": "weather.tsv"},
            {"table": "weather.tsv", "x": "month", "y": "rain", "kind": "bar"},
            {"table": "<t1.table>", "image": "<t2.image>"},
        ],
    ),
    # conditions that are not written out
    (
        "who in customers.csv lives in Oslo? see the column city",
        ["filter_table"],
        [],
        [{"table": "customers.csv", "column": "city", "operator": "==", "value": "Oslo"}],
    ),
    (
        "Which customers come from Berlin (city in customers.csv)? Sort them by name.",
        ["filter_table", "sort_table"],
        None,
        [
            {"table": "customers.csv", "column": "city", "operator": "==", "value": "Berlin"},
            {"table": "<t1.table>", "column": "name"},
        ],
    ),
    (
        "Orders of product Lamp from sales.csv, no columns but date and total, exported as tsv",
        ["filter_table", "select_columns", "convert_table"],
        None,
        [
            {"table": "sales.csv", "column": "product", "operator": "==", "value": "Lamp"},
            {"table": "<t1.table>", "columns": "date,total"},
            {"table": "<t2.table>", "format": "tsv"},
        ],
    ),
    (
        "Look at the category toys in shop.csv and give me the mean price per brand.",
        ["filter_table", "aggregate_table"],
        None,
        [
            {"table": "shop.csv", "column": "category", "operator": "==", "value": "toys"},
            {"table": "<t1.table>", "group_by": "brand", "column": "price", "function": "mean"},
        ],
    ),
    # a column of the next task is no key
    (
        "Combine films.csv with actors.csv. I want the mean of rating by country and by year.",
        ["join_tables", "aggregate_table"],
        None,
        [
            {"left": "films.csv", "right": "actors.csv"},
            {"table": "<t1.table>", "group_by": "country", "column": "rating", "function": "mean"},
        ],
    ),
]


@pytest.mark.parametrize("instruction, task_types, edges, expected", CASES, ids=named(CASES))
def test_columns_and_conditions_are_read(instruction, task_types, edges, expected):
    check(instruction, task_types, edges, expected)


def test_a_doubtful_edge_gives_way_where_the_table_has_none_of_the_named_columns():
    text = "Describe weather.tsv and draw rain by month."
    types = ["describe_table", "plot_table"]
    doubtful = fill_arguments(text, types, [(0, 1)], load_embedded_catalog(), edge_probability=lambda i, j: 0.6)
    assert shown(doubtful.arguments[1]) == {"table": "weather.tsv", "x": "month", "y": "rain"}
    assert doubtful.edges == frozenset()
    assert any("none of the columns" in note for note in doubtful.notes)
    certain = fill_arguments(text, types, [(0, 1)], load_embedded_catalog(), edge_probability=lambda i, j: 0.95)
    assert shown(certain.arguments[1]) == {"table": "<t1.table>"}


def test_the_columns_of_a_table_are_read_from_declarations():
    catalog = load_embedded_catalog()
    assert declared_columns(catalog.task_type("word_frequencies")) == {"word", "count"}
    assert declared_columns(catalog.task_type("describe_table")) >= {"column", "count", "mean", "maximum"}
    for name in ("sort_table", "aggregate_table", "select_columns", "join_tables", "text_statistics"):
        assert declared_columns(catalog.task_type(name)) == frozenset()


def test_a_required_column_keeps_its_unknown_name():
    types = ["word_frequencies", "filter_table"]
    filled = fill_arguments(
        "Tally memo.txt and keep rows where price is over 5", types, [(0, 1)], load_embedded_catalog()
    )
    assert shown(filled.arguments[1]) == {"table": "<t1.table>", "column": "price", "operator": ">", "value": 5}
