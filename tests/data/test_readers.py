"""Readers of the five formats: small files of each, what they become, and what is refused."""

import json
import logging

import pytest

from orchestai_jax.data import DataError, PlanningSample, load_samples, save_samples, split_by_hash
from orchestai_jax.workflow import (
    Catalog,
    Port,
    Reference,
    RunRecord,
    Task,
    TaskRun,
    TaskType,
    Value,
    Workflow,
    append_record,
)


def write_lines(tmp_path, *rows, name="rows.jsonl"):
    path = tmp_path / name
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return path


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


def read_bench(tmp_path, *rows):
    return load_samples(write_lines(tmp_path, *rows), "taskbench")


def test_taskbench_gives_positions_and_step_texts(tmp_path):
    [sample] = read_bench(tmp_path, bench(id=7, task_steps=["Step 1 Call a to open", "Step 2: Call b to close"]))
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
def test_links_by_name_become_forward_pairs_of_positions(tmp_path, names, pairs, expected):
    [sample] = read_bench(tmp_path, bench(task_nodes=nodes(*names), task_links=links(*pairs)))
    assert sample.dependencies == expected
    assert sample.links == {tuple(pair) for pair in pairs}


def test_a_link_from_a_tool_to_itself_that_stands_once_is_left_out_with_a_warning(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        [sample] = read_bench(tmp_path, bench(task_links=links("aa", "ab")))
    assert sample.dependencies == ((0, 1),)
    assert "left out 1 links" in caplog.text


def test_taskbench_arguments_in_their_three_spellings(tmp_path):
    given = [
        {"task": "a", "arguments": ["x.png", 3]},
        {"task": "b", "arguments": [{"name": "image", "value": "<node-0>"}, {"name": "size", "value": 2}]},
        {"task": "c", "arguments": {"text": "hi"}},
    ]
    [sample] = read_bench(tmp_path, bench(task_nodes=given))
    assert sample.arguments == (
        {"argument_0": {"value": "x.png"}, "argument_1": {"value": 3}},
        {"image": {"task": 0, "output": "output"}, "size": {"value": 2}},
        {"text": {"value": "hi"}},
    )


def test_several_steps_a_task_are_told_apart_by_name_or_left_out(tmp_path):
    steps = ["Step 1 Call a to x", "Step 2 Call a to y", "Step 3 Call b to z"]
    [named] = read_bench(tmp_path, bench(task_steps=steps))
    [other] = read_bench(tmp_path, bench(task_steps=["one", "two", "three"]))
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
def test_taskbench_errors_name_line_and_field(tmp_path, row, message):
    with pytest.raises(DataError) as caught:
        read_bench(tmp_path, bench(), row)
    assert message in str(caught.value)
    assert "rows.jsonl:2" in str(caught.value)


def test_a_cycle_is_told_in_the_order_of_its_links(tmp_path):
    with pytest.raises(DataError, match=r"cycle: (a \(0\) -> b|b \(1\) -> c|c \(2\) -> a)"):
        read_bench(tmp_path, bench(task_nodes=nodes(*"abc"), task_links=links("ab", "bc", "ca")))


def seal(*calls, **changes):
    rows = [{"api": a, "parameters": p, "responses": r} for a, p, r in calls]
    return {"id": "s", "query": "q", "calling": rows, **changes}


def test_sealtools_mentions_of_earlier_responses_are_dependencies(tmp_path, caplog):
    row = seal(
        ("first", {"n": 1}, ["API_call_0", "API_call_1"]),
        ("second", {"x": "API_call_1", "y": ["see API_call_0"]}, ["API_call_2"]),
        ("third", {"x": "API_call_3", "z": "API_call_12", "t": {"a": "of API_call_2"}}, ["API_call_3"]),
    )
    path = write_lines(tmp_path, row)
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
def test_sealtools_errors_name_line_and_field(tmp_path, row, message):
    with pytest.raises(DataError) as caught:
        load_samples(write_lines(tmp_path, row), "sealtools")
    assert message in str(caught.value)


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


def record(run_id="r1", statuses=("succeeded", "succeeded"), seconds=(4.0, 1.0), **changes):
    tasks = (
        Task(id="t2", task_type="b", worker="w2", arguments={"x": Reference(task="t1", output="o")}),
        Task(id="t1", task_type="a", worker="w1", arguments={"n": Value(value=3)}),
    )
    runs = tuple(
        TaskRun(task=t, task_type=k, worker=w, status=s, duration_s=d)
        for t, k, w, s, d in zip(("t1", "t2"), "ab", ("w1", "other"), statuses, seconds, strict=True)
    )
    fields = {"instruction": "go", "preference": (1.0, 0.1, 0.2), "status": "succeeded", "cost": 0.5, "duration_s": 5.0}
    return RunRecord(run_id=run_id, workflow=Workflow(tasks=tasks), tasks=runs, **{**fields, **changes})


def test_records_become_samples_in_topological_order(tmp_path):
    path = tmp_path / "records.jsonl"
    append_record(path, record())
    append_record(path, record("r2", ("succeeded", "failed"), (2.0, 9.0), status="partial"))
    first, second = load_samples(path, "records")
    assert first == PlanningSample(
        "r1",
        "go",
        ("a", "b"),
        ((0, 1),),
        workers=("w1", "other"),
        arguments=({"n": {"value": 3}}, {"x": {"task": 0, "output": "o"}}),
        complexities=(1.0, 1.0 / 3.0),  # the slowest type, a, takes 3 s on average
        preference=(1.0, 0.1, 0.2),
        rewards={"success": 1.0, "cost": -0.5, "latency": -5.0},
    )
    assert second.complexities == (2.0 / 3.0, 1.0 / 3.0)  # b failed: its type's mean
    assert second.rewards["success"] == 0.5


def test_records_without_any_measured_time_have_no_complexities(tmp_path):
    path = tmp_path / "records.jsonl"
    append_record(path, record(statuses=("succeeded", "skipped")))
    assert load_samples(path, "records")[0].complexities is None


def test_a_torn_record_is_reported_and_a_broken_one_refused(tmp_path, caplog):
    path = tmp_path / "records.jsonl"
    append_record(path, record())
    whole = path.read_text()
    path.write_text(whole + whole[:40])
    with caplog.at_level(logging.WARNING):
        assert len(load_samples(path, "records")) == 1
    assert "line 2" in caplog.text
    path.write_text(whole[:40] + "\n" + whole)
    with pytest.raises(DataError, match="line 1"):
        load_samples(path, "records")
    path.write_text("")
    with pytest.raises(DataError, match="no run record"):
        load_samples(path, "records")


FULL = PlanningSample(
    id="x",
    instruction="Überschrift 😀 \ud800",
    task_types=("a", "b"),
    dependencies=((0, 1),),
    workers=("w", None),
    step_texts=("one", "two"),
    arguments=({"n": {"value": [1, {"k": None}]}}, {"m": {"task": 0, "output": "o"}}),
    complexities=(0.0, 1.0),
    preference=(1.0, 0.25, 0.0),
    rewards={"success": 1.0, "cost": -0.045, "latency": -1.2},
)


def test_what_is_saved_is_loaded(tmp_path):
    path = tmp_path / "out.jsonl"
    bare = PlanningSample("y", "", ())
    save_samples(path, [FULL, bare])
    assert load_samples(path, "planning") == [FULL, bare]
    assert [p.name for p in tmp_path.iterdir()] == ["out.jsonl"]
    example = json.loads(path.read_text().splitlines()[0])
    assert example["targets"] == {"model_selections": ["w", None], "task_types": ["a", "b"], "dependencies": [[0, 1]]}
    assert example["rewards"] == {"success": 1.0, "cost": -0.045, "latency": -1.2}


def test_a_failed_save_leaves_what_stood_there(tmp_path):
    path = tmp_path / "out.jsonl"
    save_samples(path, [FULL])
    with pytest.raises(ValueError, match="JSON"):
        save_samples(path, [PlanningSample("y", "", (), rewards={"success": float("nan")})])
    assert load_samples(path, "planning") == [FULL]
    assert [p.name for p in tmp_path.iterdir()] == ["out.jsonl"]


def plan(**changes):
    targets = {"model_selections": ["w", "v"], "task_types": ["a", "b"], "dependencies": [[0, 1]]}
    return {"instruction": "go", "targets": {**targets, **changes.pop("targets", {})}, "rewards": {}, **changes}


def test_the_bare_training_example_gets_a_stable_id(tmp_path):
    first, other = load_samples(write_lines(tmp_path, plan(), plan(instruction="run")), "planning")
    again = load_samples(write_lines(tmp_path, plan(instruction="run"), plan()), "planning")[1]
    assert first.id == again.id != other.id
    assert first.workers == ("w", "v")
    assert first.rewards is None


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"instruction": "go"}, "field `targets`: missing"),
        (plan(targets={"task_types": "a"}), "field `targets.task_types`: expected a list"),
        (
            plan(targets={"dependencies": [[0, 2]]}),
            "field `targets.dependencies[0][1]`: expected a position from 0 to 1",
        ),
        (plan(targets={"dependencies": [[0]]}), "expected a pair"),
        (plan(targets={"dependencies": [[1, 1]]}), "depends on itself"),
        (plan(targets={"dependencies": [[0, 1], [1, 0]]}), "form a cycle"),
        (plan(targets={"dependencies": [[True, 1]]}), "expected a position"),
        (plan(targets={"model_selections": ["w"]}), "field `targets.model_selections`: has 1 entries for 2"),
        (plan(workers=["x", "y"]), "field `workers`: differs"),
        (plan(complexities=[0, 2]), "field `complexities[1]`: expected a complexity from 0 to 1"),
        (plan(complexities=[0]), "field `complexities`: has 1 entries"),
        (plan(step_texts=["a", 3]), "field `step_texts[1]`"),
        (plan(preference=[1, 2]), "field `preference`: expected the three weights"),
        (plan(preference=[1, -2, 0]), "none negative"),
        (plan(arguments=[{"x": {"value": 1, "task": 0}}, {}]), "field `arguments[0].x`"),
        (plan(arguments=[{"x": {"task": 5, "output": "o"}}, {}]), "field `arguments[0].x.task`"),
        (plan(rewards={"success": "yes"}), "field `rewards.success`: expected a number"),
    ],
)
def test_planning_errors_name_line_and_field(tmp_path, row, message):
    with pytest.raises(DataError) as caught:
        load_samples(write_lines(tmp_path, plan(), row), "planning")
    assert message in str(caught.value)
    assert "rows.jsonl:2" in str(caught.value)


def test_preference_may_be_named(tmp_path):
    row = plan(preference={"success": 1, "cost": 0.5, "latency": 0})
    assert load_samples(write_lines(tmp_path, row), "planning")[0].preference == (1.0, 0.5, 0.0)


def test_unknown_task_types_are_named_against_a_catalog(tmp_path):
    path = write_lines(tmp_path, bench(), bench(id=2, task_nodes=nodes(*"az"), task_links=[]))
    catalog = Catalog(name="mine", task_types=(TaskType(id="a"),))
    with pytest.raises(
        DataError, match=r"2 task types are not in the catalog `mine`: `b` \(sample 1\), `z` \(sample 2\)"
    ):
        load_samples(path, "taskbench", catalog)


def test_unknown_task_types_can_be_missed_in_scoring_but_not_all_of_them(tmp_path, caplog):
    path = write_lines(tmp_path, bench(), bench(id=2, task_nodes=nodes(*"az"), task_links=[]))
    some = Catalog(name="mine", task_types=(TaskType(id="a"),))
    assert len(load_samples(path, "taskbench", some, allow_unknown=True)) == 2
    assert "`z` (sample 2); they cannot be planned and count as missed" in caplog.text
    with pytest.raises(DataError, match="give the catalog that the data was made with"):
        load_samples(path, "taskbench", Catalog(task_types=(TaskType(id="other"),)), allow_unknown=True)


def test_an_unknown_format_is_refused_with_the_known_ones():
    with pytest.raises(DataError, match="unknown data format `csv`; one of taskbench, sealtools"):
        load_samples("x", "csv")


def test_splits_are_stable_disjoint_and_nested():
    samples = [PlanningSample(str(i), "", ()) for i in range(2000)]
    rest, held = split_by_hash(samples, 0.1)
    assert 150 < len(held) < 250
    assert [int(s.id) for s in held] == sorted(int(s.id) for s in held)
    assert {s.id for s in rest} | {s.id for s in held} == {s.id for s in samples}
    assert {s.id for s in held} <= {s.id for s in split_by_hash(samples, 0.2)[1]}
    assert {s.id for s in held} != {s.id for s in split_by_hash(samples, 0.1, "other")[1]}
    assert split_by_hash(samples[500:700], 0.1)[1] == [s for s in held if 500 <= int(s.id) < 700]
    assert split_by_hash(samples, 0)[1] == []
    assert split_by_hash(samples, 1)[0] == []
    with pytest.raises(DataError, match="from 0 to 1"):
        split_by_hash(samples, 1.5)


@pytest.mark.parametrize(
    ("name", "format", "samples", "tasks", "dependencies"),
    [
        ("ultratool/train.jsonl", "taskbench", 3026, 7371, 4345),
        ("ultratool/test.jsonl", "taskbench", 213, 499, 286),
        ("sealtools/dev.jsonl", "sealtools", 700, 1804, 34),
        ("sealtools/test_in_domain.jsonl", "sealtools", 700, 1795, 38),
        ("nestful/glaive-data.json", "nestful", 169, 469, 185),
        ("nestful/sgd-data.json", "nestful", 46, 98, 52),
    ],
)
def test_public_sets_are_read_whole(public_data, name, format, samples, tasks, dependencies):
    loaded = load_samples(public_data(name), format)
    assert len(loaded) == samples == len({sample.id for sample in loaded})
    assert sum(len(sample.task_types) for sample in loaded) == tasks
    assert sum(len(sample.dependencies) for sample in loaded) == dependencies
    assert all(source < target for sample in loaded for source, target in sample.dependencies)


def test_a_public_set_without_gold_plans_is_refused(public_data):
    with pytest.raises(DataError, match=r"huggingface_shape\.jsonl:1: field `task_nodes`: missing"):
        load_samples(public_data("taskbench/huggingface_shape.jsonl"), "taskbench")
