"""TaskBench's format: what its rows become, and what is refused."""

import logging

import pytest

from orchestai_jax.data import DataError, PlanningSample, load_samples


def bench(**changes):
    row = {
        "id": "1",
        "user_request": "do it",
        "task_nodes": [{"task": "a"}, {"task": "b"}],
        "task_links": [{"source": "a", "target": "b"}],
    }
    return {key: value for key, value in {**row, **changes}.items() if value is not ...}


def links(*pairs):
    return [{"source": s, "target": t} for s, t in pairs]


def nodes(*names):
    return [{"task": name} for name in names]


@pytest.fixture
def read_bench(write_lines):
    """Reads rows as a file of the format."""
    return lambda *rows: load_samples(write_lines(*rows), "taskbench")


def test_taskbench_gives_positions_and_step_texts(read_bench):
    [sample] = read_bench(bench(id=7, task_steps=["Step 1 Call a to open", "Step 2: Call b to close"]))
    assert sample == PlanningSample("7", "do it", ("a", "b"), ((0, 1),), step_texts=("open", "close"))


@pytest.mark.parametrize(
    ("names", "pairs", "expected"),
    [
        ("abab", ["ab", "ba", "ab"], ((0, 1), (1, 2), (2, 3))),
        ("aaa", ["aa", "aa"], ((0, 1), (1, 2))),
        ("aa", ["aa", "aa"], ((0, 1),)),
        ("ba", ["ab"], ((1, 0),)),
        ("abc", ["ac", "bc"], ((0, 2), (1, 2))),
        ("abc", [], ()),
    ],
)
def test_links_by_name_become_forward_pairs_of_positions(read_bench, names, pairs, expected):
    [sample] = read_bench(bench(task_nodes=nodes(*names), task_links=links(*pairs)))
    assert sample.dependencies == expected
    assert sample.links == {tuple(pair) for pair in pairs}


def test_a_link_from_a_tool_to_itself_that_stands_once_is_left_out_with_a_warning(read_bench, caplog):
    with caplog.at_level(logging.WARNING):
        [sample] = read_bench(bench(task_links=links("aa", "ab")))
    assert sample.dependencies == ((0, 1),)
    assert "left out 1 links" in caplog.text


def test_taskbench_arguments_in_their_three_spellings(read_bench):
    given = [
        {"task": "a", "arguments": ["x.png", 3]},
        {"task": "b", "arguments": [{"name": "image", "value": "<node-0>"}, {"name": "size", "value": 2}]},
        {"task": "c", "arguments": {"text": "hi"}},
    ]
    [sample] = read_bench(bench(task_nodes=given))
    assert sample.arguments == (
        {"argument_0": {"value": "x.png"}, "argument_1": {"value": 3}},
        {"image": {"task": 0, "output": "output"}, "size": {"value": 2}},
        {"text": {"value": "hi"}},
    )


def test_several_steps_a_task_are_told_apart_by_name_or_left_out(read_bench):
    steps = ["Step 1 Call a to x", "Step 2 Call a to y", "Step 3 Call b to z"]
    [named] = read_bench(bench(task_steps=steps))
    [other] = read_bench(bench(task_steps=["one", "two", "three"]))
    assert named.step_texts == ("x; y", "z")
    assert other.step_texts is None


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (bench(task_nodes=...), "rows.jsonl:2: field `task_nodes`: missing"),
        (bench(user_request=3), "field `user_request`: expected a string, got the number 3"),
        (bench(id=True), "field `id`: expected a string or a number"),
        (bench(id=...), "field `id`: missing"),
        (bench(task_nodes={"task": "a"}), "field `task_nodes`: expected a list"),
        (bench(task_nodes=[{"task": "a"}, {"tool": "b"}]), "field `task_nodes[1].task`: missing (fields there: tool)"),
        (bench(task_nodes=["a"]), "field `task_nodes[0]`: expected an object"),
        (bench(task_links=links("ac")), "field `task_links[0].target`: names `c`"),
        (bench(task_links=links("ab", "ba")), "field `task_links`: the tasks form a cycle: "),
        (bench(task_steps="x"), "field `task_steps`: expected a list"),
        (bench(task_steps=["x", None]), "field `task_steps[1]`: expected a string, got null"),
        (bench(task_nodes=[{"task": "a", "arguments": 3}, {"task": "b"}]), "field `task_nodes[0].arguments`"),
    ],
)
def test_taskbench_errors_name_line_and_field(read_bench, row, message):
    with pytest.raises(DataError) as caught:
        read_bench(bench(), row)
    assert message in str(caught.value)
    assert "rows.jsonl:2" in str(caught.value)


def test_a_cycle_is_told_in_the_order_of_its_links(read_bench):
    with pytest.raises(DataError, match=r"cycle: (a \(0\) -> b|b \(1\) -> c|c \(2\) -> a)"):
        read_bench(bench(task_nodes=nodes(*"abc"), task_links=links("ab", "bc", "ca")))
