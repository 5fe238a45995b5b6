"""Seal-Tools' format: what its rows become, and what is refused."""

import logging

import pytest

from orchestai_jax.data import DataError, load_samples
from orchestai_jax.workflow import Catalog, Port, TaskType


def seal(*calls, **changes):
    rows = [{"api": a, "parameters": p, "responses": r} for a, p, r in calls]
    return {"id": "s", "query": "q", "calling": rows, **changes}


def test_sealtools_mentions_of_earlier_responses_are_dependencies(write_lines, caplog):
    row = seal(
        ("first", {"n": 1}, ["API_call_0", "API_call_1"]),
        ("second", {"x": "API_call_1", "y": ["see API_call_0"]}, ["API_call_2"]),
        ("third", {"x": "API_call_3", "z": "API_call_12", "t": {"a": "of API_call_2"}}, ["API_call_3"]),
    )
    path = write_lines(row)
    with caplog.at_level(logging.WARNING):
        [sample] = load_samples(path, "sealtools")
    assert sample.dependencies == ((0, 1), (1, 2))
    assert sample.arguments[1] == {"x": {"task": 0, "output": "API_call_1"}, "y": {"value": ["see API_call_0"]}}
    assert sample.arguments[2]["z"] == {"value": "API_call_12"}
    assert "2 mentions" in caplog.text
    types = [TaskType(id=name, outputs=(Port(name="p"), Port(name="q"))) for name in ("first", "second", "third")]
    [known] = load_samples(path, "sealtools", Catalog(task_types=tuple(types)))
    assert known.arguments[1]["x"] == {"task": 0, "output": "q"}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": 1, "query": "q"}, "field `calling`: missing"),
        (seal(("a", [], [])), "field `calling[0].parameters`: expected an object, got the list []"),
        (seal(("", {}, [])), "field `calling[0].api`: expected a name, got a blank string"),
        (seal(("a", {}, [1])), "field `calling[0].responses[0]`"),
    ],
)
def test_sealtools_errors_name_line_and_field(write_lines, row, message):
    with pytest.raises(DataError) as caught:
        load_samples(write_lines(row), "sealtools")
    assert message in str(caught.value)
