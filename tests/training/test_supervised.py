"""What supervised training refuses, and how it prepares its samples; test_pretrained_encoder.py trains for real."""

import dataclasses

import pytest
import yaml
from toy_planner import toy_config

from orchestai_jax.config import parse_config
from orchestai_jax.data import PlanningSample, save_samples
from orchestai_jax.training.monitoring import SilentMonitor
from orchestai_jax.training.planning_data import in_topological_order, step_clause
from orchestai_jax.training.supervised import train_planner
from orchestai_jax.training.training_samples import load_training_samples
from orchestai_jax.workflow import RunRecord, Task, TaskRun, Workflow, append_record


def test_what_cannot_be_trained_is_named(files, tmp_path):
    narrow = toy_config(files).model_dump(mode="json")
    narrow["planner"]["decomposer"]["max_tasks"] = 2
    with pytest.raises(ValueError, match=r"has 3 tasks, .* planner.decomposer.max_tasks=3"):
        train_planner(parse_config(yaml.safe_dump(narrow)), tmp_path / "run", monitor=SilentMonitor())
    able = next(s for s in load_training_samples(toy_config(files)).train if set(s.task_types) != {"blur"})
    save_samples(tmp_path / "unable.jsonl", [dataclasses.replace(able, workers=("two",) * len(able.workers))] * 2)
    unable = toy_config(files).model_dump(mode="json")
    unable["data"] |= {"train": str(tmp_path / "unable.jsonl"), "validation": str(files / "train.jsonl")}
    with pytest.raises(ValueError, match="to 'two', which cannot do it"):
        train_planner(parse_config(yaml.safe_dump(unable)), tmp_path / "other", monitor=SilentMonitor())
    uneven = toy_config(files).model_dump(mode="json")
    uneven["planner"]["decomposer"]["num_heads"] = 5
    with pytest.raises(ValueError, match=r"planner\.decomposer\.num_heads 5 .* width 16; these do: 1, 2, 4, 8, 16"):
        train_planner(parse_config(yaml.safe_dump(uneven)), tmp_path / "uneven", monitor=SilentMonitor())
    uneven["planner"]["decomposer"]["num_heads"] = 2
    uneven["planner"]["task_type_graph"] |= {"layer": "gat", "num_heads": 5}
    with pytest.raises(ValueError, match=r"planner\.task_type_graph: num_heads 5 does not divide the width"):
        train_planner(parse_config(yaml.safe_dump(uneven)), tmp_path / "uneven", monitor=SilentMonitor())
    assert not (tmp_path / "uneven").exists()
    thin = toy_config(files).model_dump(mode="json")
    thin["data"]["validation_fraction"] = 1e-9
    with pytest.raises(ValueError, match="no validation samples are left"):
        load_training_samples(parse_config(yaml.safe_dump(thin)))


def test_of_run_records_only_what_succeeded_is_learned(files, tmp_path):
    def ran(name, status):
        workflow = Workflow(instruction=f"soften file {name}", tasks=(Task(id="t", task_type="blur", worker="two"),))
        task = TaskRun(task="t", task_type="blur", worker="two", status=status)
        append_record(tmp_path / "runs.jsonl", RunRecord(run_id=name, workflow=workflow, tasks=(task,), status=status))

    config = toy_config(files).model_dump(mode="json")
    config["data"] |= {"train": str(tmp_path / "runs.jsonl"), "format": "records"}
    config["data"]["validation"] = config["data"]["train"]
    ran("r1", "failed")
    with pytest.raises(ValueError, match="no run in it succeeded"):
        load_training_samples(parse_config(yaml.safe_dump(config)))
    ran("r2", "succeeded")
    loaded = load_training_samples(parse_config(yaml.safe_dump(config)))
    assert [sample.id for sample in loaded.train] == [sample.id for sample in loaded.validation] == ["r2"]


def test_samples_are_put_in_an_order_that_runs():
    sample = PlanningSample("1", "x", ("a", "b", "c"), ((2, 0), (0, 1)), workers=("A", "B", None))
    moved = in_topological_order(sample)
    assert moved.task_types == ("c", "a", "b")
    assert moved.workers == (None, "A", "B")
    assert moved.links == sample.links
    assert all(s < t for s, t in moved.dependencies)
    with pytest.raises(ValueError, match="make a cycle"):
        in_topological_order(PlanningSample("1", "x", ("a", "b"), ((0, 1), (1, 0))))


@pytest.mark.parametrize(
    ("text", "clause"),
    [
        ("Step 1 Call book_flight to book the 9 am flight", "book the 9 am flight"),
        ("2. Call book_flight", ""),
        ("book it", "book it"),
    ],
)
def test_step_texts_do_not_give_the_answer_away(text, clause):
    assert step_clause(text, "book_flight") == clause
