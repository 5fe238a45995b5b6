"""The shape of a plan, and what is read and judged of shapes."""

import json

import numpy as np
import pytest

pytest.importorskip("sklearn")

from taskbench_shape import judged, read_requests, shape_of

from orchestai_jax.workflow import Task, Workflow


def plan(*sources):
    tasks = tuple(Task(id=f"t{i}", task_type="x", depends_on=of) for i, of in enumerate(sources))
    return Workflow(instruction="do it", tasks=tasks)


@pytest.mark.parametrize(
    ("sources", "shape"),
    [
        ((), "single"),
        (((),), "single"),
        (((), ("t0",), ("t1",)), "chain"),
        (((), ()), "dag"),
        (((), ("t0",), ("t0",)), "dag"),
        (((), (), ("t0", "t1")), "dag"),
        (((), ("t0",), ("t0", "t1")), "dag"),
    ],
)
def test_shapes(sources, shape):
    assert shape_of(plan(*sources)) == shape


def test_an_unknown_shape_names_its_line(tmp_path):
    path = tmp_path / "shapes.jsonl"
    entries = [{"user_request": "a", "type": "dag"}, {"user_request": "b", "type": "ring"}]
    path.write_text("\n".join(map(json.dumps, entries)), encoding="utf-8")
    with pytest.raises(ValueError, match=r"shapes.jsonl, line 2: type is 'ring', not one of single, chain, dag"):
        read_requests(path)
    path.write_text(json.dumps(entries[0]), encoding="utf-8")
    assert read_requests(path) == [("a", "dag")]


def test_what_is_right_is_counted():
    found = judged(np.array([0, 1, 2, 1]), np.array([0, 1, 1, 1]))
    assert found["accuracy"] == 0.75
    assert found["interval"][0] <= 0.75 <= found["interval"][1]
    assert found["said"] == {"n": 4, "single": 1, "chain": 2, "dag": 1}
