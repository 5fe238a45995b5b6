"""Any text over any catalog: never an error, never a cycle, valid apart from what is open, nothing invented."""

import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestai_jax.planner.arguments import fill_arguments
from orchestai_jax.quickstart.catalog import load_embedded_catalog
from orchestai_jax.workflow.catalog import Catalog, Parameter, Port, TaskType
from orchestai_jax.workflow.validation import validate_workflow
from orchestai_jax.workflow.workflow import Reference, Task, Value, Workflow

EMBEDDED = load_embedded_catalog()
PORT_TYPES = ["text", "image", "audio", "table", "document", "file", "json", "number", "any", "own"]
PARAMETER_TYPES = ["string", "integer", "number", "boolean", "path", "url", "array", "object", "any"]
NAMES = st.sampled_from(
    [
        *("width", "start", "end", "count", "by", "column", "columns", "operator", "value", "text", "image", "name"),
        *("url", "x", "find", "new"),
    ]
)
FRAGMENTS = st.sampled_from(
    [
        *(
            "blur",
            "resize photo.png",
            "it",
            "and",
            "then",
            "sales.csv",
            "sort by date",
            "where amount > 5",
            "'a b.wav'",
        ),
        *(
            '"quoted',
            "titled 'X'",
            "800x600",
            "5-12 s",
            "-3 dB",
            "50%",
            "half",
            "1:30",
            "into out.zip",
            "16 kHz",
            "top 5",
        ),
        *("replace a with b", "columns a, b and c", "true", "without", "https://a.b/c.png", "me@x.org", "2024-01-01"),
        *(
            "is",
            "the chart",
            "both",
            "original",
            "。",
            "把图片缩小",
            "😀",
            "\x00\x07",
            "\u202e",
            "İ",
            "“",
            "’",
            "./",
            ".png",
        ),
        *("gt", "at least", "or more", "from", "to", "99999999999999999999", "1e999", ",", ".", ":", "\n", " "),
    ]
)
TEXTS = st.one_of(
    st.text(max_size=80), st.lists(FRAGMENTS, max_size=25).map(" ".join), st.lists(FRAGMENTS).map("".join)
)
ports = st.lists(
    st.builds(Port, name=NAMES, type=st.sampled_from(PORT_TYPES), description=TEXTS, required=st.booleans()),
    max_size=3,
    unique_by=lambda p: p.name,
)
parameters = st.lists(
    st.builds(
        Parameter,
        name=NAMES,
        type=st.sampled_from(PARAMETER_TYPES),
        description=st.sampled_from(["", "column to sort by", "seconds", "pixels", "number of rows", "text to write"]),
        required=st.booleans(),
        enum=st.none()
        | st.lists(st.sampled_from(["<", ">", "gt", "bar", "jpeg", 1, 2.5, True, None]), min_size=1).map(tuple),
    ),
    max_size=4,
    unique_by=lambda p: p.name,
)


@st.composite
def catalogs(draw):
    n = draw(st.integers(1, 5))
    return Catalog(
        task_types=tuple(
            TaskType(
                id=f"{draw(NAMES)}_{k}",
                description=draw(TEXTS),
                inputs=tuple(inputs := draw(ports)),
                outputs=tuple(draw(ports)),
                parameters=tuple(p for p in draw(parameters) if p.name not in {i.name for i in inputs}),
            )
            for k in range(n)
        )
    )


@st.composite
def plans(draw, catalog):
    types = draw(st.lists(st.sampled_from([t.id for t in catalog.task_types]), max_size=6))
    pairs = [(i, j) for j in range(len(types)) for i in range(j)]
    edges = draw(st.sets(st.sampled_from(pairs))) if pairs else set()
    return types, edges


def check(instruction, types, edges, catalog, probability=None):
    filled = fill_arguments(instruction, types, edges, catalog, edge_probability=probability)
    assert len(filled.arguments) == len(types)
    assert all(0 <= i < j < len(types) for i, j in filled.edges)
    tasks = tuple(
        Task(
            id=f"t{j + 1}",
            task_type=name,
            arguments=filled.arguments[j],
            depends_on=tuple(f"t{i + 1}" for i, k in sorted(filled.edges) if k == j),
        )
        for j, name in enumerate(types)
    )
    flow = Workflow(tasks=tasks)
    assert validate_workflow(flow, catalog, require_arguments=False) == []
    missing = {(f.task, re.search(r"'([^']*)' is required", f.message)[1]) for f in validate_workflow(flow, catalog)}
    assert missing == {(f"t{t + 1}", name) for t, name in filled.open_arguments}
    for j, name in enumerate(types):
        if all(port.type == "any" and not port.required for port in catalog.task_type(name).inputs):
            assert {i for i, k in filled.edges if k == j} == {i for i, k in edges if k == j}
        else:
            # Every edge that is kept is backed by a reference.
            referenced = {int(a.task[1:]) - 1 for a in filled.arguments[j].values() if isinstance(a, Reference)}
            assert referenced == {i for i, k in filled.edges if k == j}
    return filled


def test_nothing_is_invented():
    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(TEXTS, plans(EMBEDDED))
    def run(instruction, plan):
        filled = check(instruction, *plan, EMBEDDED)
        for name, arguments in zip(plan[0], filled.arguments, strict=True):
            enums = {p.name: p.enum or () for p in EMBEDDED.task_type(name).parameters}
            for key, argument in arguments.items():
                if isinstance(argument, Value) and isinstance(argument.value, str):
                    said = [argument.value, *argument.value.split(",")]
                    assert argument.value in enums.get(key, ()) or any(s in instruction for s in said)

    run()


def test_any_catalog_gives_a_valid_plan():
    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def run(data):
        catalog = data.draw(catalogs())
        types, edges = data.draw(plans(catalog))
        odds = data.draw(st.none() | st.sampled_from([0.0, 0.03, 0.5, 1.0]))
        check(data.draw(TEXTS), types, edges, catalog, None if odds is None else lambda i, j: odds)

    run()


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\x00\x01\x1b[31m",
        "😀🎉",
        "'" * 20_000,
        '"a ' * 6_000,
        "1" * 20_000,
        "1,2.3" * 4_000,
        "a." * 10_000,
        "is over " * 2_500,
        "\n" * 20_000,
        " " * 20_000,
        "from 5 to " * 2_000,
        "columns a, b, " * 1_500,
        "Resize photo.png to 800x600 and sort sales.csv by date where x > 5. " * 1_500,
    ],
    ids=lambda text: repr(text[:12]),
)
def test_odd_and_long_texts_are_read(text):
    check(text, ["resize_image", "filter_table", "build_report"], {(0, 2), (1, 2)}, EMBEDDED)


def test_a_catalog_without_inputs_and_parameters_keeps_its_edges_and_gets_no_arguments():
    catalog = Catalog(task_types=(TaskType(id="book_flight"), TaskType(id="send_mail")))
    filled = check("book a flight and mail 'x' to a@b.org", ["book_flight", "send_mail"], {(0, 1)}, catalog)
    assert filled.arguments == ({}, {})
    assert filled.edges == {(0, 1)}
    assert filled.notes == ()


def test_parameters_are_filled_by_reference_where_a_type_has_no_inputs():
    """The form of Seal-Tools and NESTFUL: only parameters, outputs of any type, edges from references."""
    catalog = Catalog(
        task_types=(
            TaskType(id="find_city", outputs=(Port(name="city", description="name of the city"), Port(name="score"))),
            TaskType(
                id="getWeather",
                description="Weather of a city on a day",
                parameters=(
                    Parameter(name="city", type="string", required=True, description="name of the city"),
                    Parameter(name="unit", type="string", required=True, enum=("celsius", "fahrenheit")),
                    Parameter(name="days", type="integer", required=True, description="number of days"),
                ),
            ),
        )
    )
    text = "Find a city and get its weather for the next 3 days in Celsius"
    filled = check(text, ["find_city", "getWeather"], {(0, 1)}, catalog)
    assert filled.arguments[1] == {
        "city": Reference(task="t1", output="city"),
        "unit": Value(value="celsius"),
        "days": Value(value=3),
    }


def test_several_edges_into_untyped_inputs_are_all_kept_and_none_is_added():
    given = {"inputs": (Port(name="input", required=False),), "outputs": (Port(name="output"),)}
    catalog = Catalog(
        task_types=(
            *(TaskType(id=name, **given) for name in ("hear", "see")),
            TaskType(id="judge", parameters=(Parameter(name="case_id", type="string", required=True),), **given),
        )
    )
    text = "hear it, see it, judge it: the case ID is X17b"
    filled = check(text, ["hear", "see", "judge"], {(0, 2), (1, 2)}, catalog)
    assert filled.edges == {(0, 2), (1, 2)}
    assert filled.arguments[:2] == ({}, {})
    assert filled.arguments[2]["case_id"] == Value(value="X17b")


def test_operators_are_spelled_as_the_catalog_spells_them():
    catalog = Catalog(
        task_types=(
            TaskType(
                id="select_rows",
                description="Keep rows",
                inputs=(Port(name="data", type="table"),),
                parameters=(
                    Parameter(name="field", type="string", required=True, description="field to test"),
                    Parameter(name="comparison", type="string", required=True, enum=("eq", "gte", "lt")),
                    Parameter(name="threshold", type="number", required=True),
                ),
            ),
        )
    )
    filled = check("rows of a.csv where price is at least 5", ["select_rows"], set(), catalog)
    assert {k: v.value for k, v in filled.arguments[0].items()} == {
        "data": "a.csv",
        "field": "price",
        "comparison": "gte",
        "threshold": 5,
    }


def test_contacts_and_places_fill_the_parameters_that_are_named_after_them():
    catalog = Catalog(
        task_types=(
            TaskType(
                id="book_trip",
                parameters=(
                    Parameter(name="origin", type="string", required=True, description="origin city"),
                    Parameter(name="destination", type="string", required=True, description="destination city"),
                    Parameter(name="date", type="string", required=True),
                    Parameter(name="email", type="string", required=True),
                    Parameter(name="website", type="url"),
                    Parameter(name="insured", type="boolean"),
                ),
            ),
        )
    )
    text = "Book a trip from New York to Paris on 2025-03-01 via https://fly.example, insured, mail me@x.org"
    filled = check(text, ["book_trip"], set(), catalog)
    assert {k: v.value for k, v in filled.arguments[0].items()} == {
        "origin": "New York",
        "destination": "Paris",
        "date": "2025-03-01",
        "email": "me@x.org",
        "website": "https://fly.example",
        "insured": True,
    }
