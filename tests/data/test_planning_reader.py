"""The own training format: what is saved is loaded, and what is refused."""

import json

import pytest

from orchestai_jax.data import DataError, PlanningSample, load_samples, save_samples

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


def test_the_bare_training_example_gets_a_stable_id(write_lines):
    first, other = load_samples(write_lines(plan(), plan(instruction="run")), "planning")
    again = load_samples(write_lines(plan(instruction="run"), plan()), "planning")[1]
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
def test_planning_errors_name_line_and_field(write_lines, row, message):
    with pytest.raises(DataError) as caught:
        load_samples(write_lines(plan(), row), "planning")
    assert message in str(caught.value)
    assert "rows.jsonl:2" in str(caught.value)


def test_preference_may_be_named(write_lines):
    row = plan(preference={"success": 1, "cost": 0.5, "latency": 0})
    assert load_samples(write_lines(row), "planning")[0].preference == (1.0, 0.5, 0.0)
