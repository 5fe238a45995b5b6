"""NESTFUL's format: what its entries become, and what is refused."""

import json

import pytest

from orchestai_jax.data import DataError, load_samples


def nest(*calls, **changes):
    rows = [{"name": n, "arguments": a, **({"label": label} if label else {})} for n, a, label in calls]
    return {"input": "q", "output": rows, **changes}


def write_array(tmp_path, *rows):
    path = tmp_path / "nest-data.json"
    path.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    return path


def test_nestful_references_are_dependencies_money_is_not_and_the_result_is_dropped(tmp_path, caplog):
    row = nest(
        ("a", {"price": "$100-$200", "cost": "$5.00$"}, "var1"),
        ("b", {"x": "$var1.total$", "y": {"deep": ["id $var1.id$"]}}, "var2"),
        ("c", {"x": "$var2$", "y": "$var1.items[0].id$"}, None),
        ("var_result", {"z": "$var9$"}, None),
    )
    [sample] = load_samples(write_array(tmp_path, row), "nestful")
    assert caplog.text == ""
    assert sample.id == "nest-data-0"
    assert sample.task_types == ("a", "b", "c")
    assert sample.dependencies == ((0, 1), (1, 2), (0, 2))
    assert sample.arguments[0] == {"price": {"value": "$100-$200"}, "cost": {"value": "$5.00$"}}
    assert sample.arguments[1]["x"] == {"task": 0, "output": "total"}
    assert sample.arguments[1]["y"] == {"value": {"deep": ["id $var1.id$"]}}
    assert sample.arguments[2] == {"x": {"task": 1, "output": "output"}, "y": {"task": 0, "output": "items[0].id"}}


def test_nestful_errors_name_the_line_of_the_entry(tmp_path):
    path = tmp_path / "n.json"
    path.write_text('[\n{"input": "q", "output": []},\n{"input": "q", "output": [{"arguments": {}}]}\n]')
    with pytest.raises(DataError, match=r"n\.json:3: field `output\[0\]\.name`: missing"):
        load_samples(path, "nestful")
