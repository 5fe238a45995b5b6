"""Arguments are brought to their declared types, or refused by name."""

import contextlib
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestai_jax.workers import WorkerError, check_arguments
from orchestai_jax.workers.arguments import ENUM_ALIASES, convert
from orchestai_jax.workflow import Catalog, Parameter, Port, Task, TaskType, Workflow, validate_workflow


def parameter(kind, enum=None):
    return Parameter(name="p", type=kind, enum=enum)


@pytest.mark.parametrize(
    "kind, given_value, expected",
    [
        ("integer", 800, 800),
        ("integer", "800", 800),
        ("integer", " 800 px ", 800),
        ("integer", 800.0, 800),
        ("integer", "16 kHz", 16000),
        ("integer", "22.05khz", 22050),
        ("number", "50%", 0.5),
        ("number", "1e-2", 0.01),
        ("number", "-6dB", -6),
        ("number", "1:30", 90),
        ("number", "1:00:02.5", 3602.5),
        ("number", "90°", 90),
        ("boolean", "yes", True),
        ("boolean", 0, False),
        ("string", 5, "5"),
        ("string", ["a", "b"], "a, b"),
        ("any", {"a": 1}, {"a": 1}),
    ],
)
def test_values_are_converted(kind, given_value, expected):
    converted = convert(parameter(kind), given_value)
    assert converted == expected
    assert type(converted) is type(expected)


@pytest.mark.parametrize(
    "kind, given_value",
    [
        ("integer", "eight"),
        ("integer", 1.5),
        ("integer", True),
        ("number", "5 parsecs"),
        ("number", math.nan),
        ("number", "1e999"),
        ("number", [1]),
        ("boolean", "perhaps"),
        ("string", {"a": 1}),
    ],
)
def test_other_values_are_refused(kind, given_value):
    with pytest.raises(WorkerError, match="p must be"):
        convert(parameter(kind), given_value)


def test_enums_take_their_aliases_and_name_what_is_allowed():
    formats = parameter("string", ("jpeg", "png"))
    assert [convert(formats, word) for word in ("jpg", ".JPG", "PNG", "jpeg")] == ["jpeg", "jpeg", "png", "jpeg"]
    with pytest.raises(WorkerError, match="p must be one of jpeg, png, not 'psd'"):
        convert(formats, "psd")
    assert convert(parameter("string", ("json", "csv")), "json") == "json", "an allowed word is no alias"


def test_every_alias_means_something_that_a_tool_allows(catalog):
    allowed = {value for t in catalog.task_types for p in t.parameters for value in p.enum or ()}
    assert set(ENUM_ALIASES.values()) <= allowed


def test_inputs_and_parameters_are_checked_against_the_task_type():
    task_type = TaskType(
        id="crop",
        inputs=(Port(name="image", type="image"), Port(name="mask", type="image", required=False)),
        parameters=(Parameter(name="width", type="integer", default=7), Parameter(name="label", required=True)),
    )
    assert check_arguments(task_type, {"image": "a.png", "label": "x"}) == {
        "image": "a.png",
        "mask": None,
        "width": 7,
        "label": "x",
    }
    with pytest.raises(WorkerError, match="crop needs the input 'image'"):
        check_arguments(task_type, {"label": "x"})
    with pytest.raises(WorkerError, match="crop needs the parameter 'label'"):
        check_arguments(task_type, {"image": "a.png", "label": None})
    with pytest.raises(WorkerError, match="crop has no argument 'colour'; it takes image, mask, width, label"):
        check_arguments(task_type, {"image": "a.png", "label": "x", "colour": 1})


@pytest.mark.parametrize("required", [True, False])
@pytest.mark.parametrize("default", [None, 7, 0])
def test_a_task_without_a_parameter_runs_where_the_workflow_is_valid(required, default):
    width = Parameter(name="width", type="integer", required=required, default=default)
    catalog = Catalog(task_types=(TaskType(id="crop", parameters=(width,)),))
    faults = validate_workflow(Workflow(tasks=(Task(id="1", task_type="crop"),)), catalog)
    assert [fault.code for fault in faults] == (["missing_argument"] if required and default is None else [])
    if faults:
        with pytest.raises(WorkerError, match="crop needs the parameter 'width'"):
            check_arguments(catalog.task_types[0], {})
    else:
        assert check_arguments(catalog.task_types[0], {}) == {"width": default}


@settings(max_examples=50, deadline=None)
@given(
    value=st.one_of(st.text(), st.floats(), st.integers(), st.none(), st.lists(st.integers()), st.booleans()),
    kind=st.sampled_from(["integer", "number", "boolean", "string", "any"]),
)
def test_any_value_converts_or_is_refused(value, kind):
    converted = None
    with contextlib.suppress(WorkerError):  # any other error fails the test
        converted = convert(parameter(kind), value)
    if converted is not None:
        assert kind != "integer" or isinstance(converted, int)
        assert kind != "number" or math.isfinite(converted)
