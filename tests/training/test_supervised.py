"""Training a planner for real, small: it learns, it goes on bit for bit, its workdir makes a Planner."""

import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import chex
import pytest
import yaml
from toy_planner import toy_config

from orchestai_jax.checkpoint import open_checkpoint
from orchestai_jax.config import parse_config
from orchestai_jax.data import PlanningSample, save_samples
from orchestai_jax.planner import Planner
from orchestai_jax.training.monitoring import SilentMonitor
from orchestai_jax.training.planning_data import in_topological_order, step_clause
from orchestai_jax.training.supervised import load_training_samples, train_planner


def _parameters(workdir):
    return open_checkpoint(workdir, "latest").restore()["trainable"]


def _metrics(workdir):
    lines = [json.loads(line) for line in (pathlib.Path(workdir) / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "wall_s"} for line in lines]


@pytest.fixture(scope="module")
def trained(files, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "whole"
    return workdir, train_planner(toy_config(files), workdir, monitor=SilentMonitor())


def test_it_learns_and_plans(files, trained):
    workdir, result = trained
    lines = [m for m in _metrics(workdir) if m["split"] == "train"]
    assert lines[0]["values"]["decision_loss"] > 1.2
    assert lines[-1]["values"]["decision_loss"] < 0.5 * lines[0]["values"]["decision_loss"]
    assert result.best_metrics["node_f1"] > 0.8
    planner = Planner.from_checkpoint(workdir)
    workflow = planner.plan("soften file 3, then cut file 3")
    assert [t.task_type for t in workflow.tasks] == ["blur", "crop"]
    assert workflow.edges == (("t1", "t2"),)
    assert workflow.tasks[0].worker == "two"
    assert workflow.tasks[0].complexity == pytest.approx(0.5, abs=0.3)
    checkpoint = next((workdir / "checkpoints").iterdir())
    assert Planner.from_checkpoint(checkpoint).catalog == planner.catalog


class _StopAfter(SilentMonitor):
    """Raises at a step, as a crash would."""

    def __init__(self, step):
        self.last = step

    def step(self, step, values, learning_rate):
        if step == self.last:
            raise RuntimeError("crash")


def test_a_run_that_crashed_goes_on_bit_for_bit(files, trained, tmp_path):
    config = toy_config(files, save_every_steps=5)
    with pytest.raises(RuntimeError, match="crash"):
        train_planner(config, tmp_path / "run", monitor=_StopAfter(13))
    train_planner(config, tmp_path / "run", resume=True, monitor=SilentMonitor())
    chex.assert_trees_all_equal(_parameters(trained[0]), _parameters(tmp_path / "run"))
    assert _metrics(trained[0]) == _metrics(tmp_path / "run")


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on_bit_for_bit(files, trained, tmp_path):
    config = tmp_path / "toy.yaml"
    config.write_text(yaml.safe_dump(toy_config(files, save_every_steps=3).model_dump(mode="json")))
    command = [
        sys.executable,
        "-c",
        "from orchestai_jax.cli import main; main()",
        "train",
        str(config),
        "--workdir",
        str(tmp_path / "run"),
    ]
    for attempt, wait in enumerate((2, 1, 4, 0)):
        resume = ["--resume"] if (tmp_path / "run").exists() else []
        process = subprocess.Popen([*command, *resume], env={**os.environ, "JAX_PLATFORMS": "cpu"})
        if attempt == 3:
            assert process.wait(120) == 0
            break
        before = len(_metrics(tmp_path / "run")) if (tmp_path / "run" / "metrics.jsonl").exists() else 0
        deadline = time.monotonic() + 100
        while process.poll() is None and time.monotonic() < deadline:
            log = tmp_path / "run" / "metrics.jsonl"
            if log.exists() and len(log.read_text().splitlines()) > before + wait:
                break
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait(30)
    chex.assert_trees_all_equal(_parameters(trained[0]), _parameters(tmp_path / "run"))
    assert _metrics(trained[0]) == _metrics(tmp_path / "run")


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
    thin = toy_config(files).model_dump(mode="json")
    thin["data"]["validation_fraction"] = 1e-9
    with pytest.raises(ValueError, match="no validation samples are left"):
        load_training_samples(parse_config(yaml.safe_dump(thin)))


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
