"""Samples laid down for a training; curves of finished ones."""

import json

import _training_runs as runs
import pytest

from orchestai_jax.config import DataConfig, RunConfig
from orchestai_jax.data import PlanningSample
from orchestai_jax.training.training_samples import load_training_samples
from orchestai_jax.workflow import Catalog, TaskType


@pytest.fixture
def workdir(tmp_path):
    lines = [
        (2, 1, "train", {"decision_loss": 4.0}),
        (3, 1, "train", {"decision_loss": 1.0}),  # one step, the line before was two
        (3, 1, "validation", {"decision_loss": 2.5, "node_f1": 0.5}),
        (5, 2, "train", {"decision_loss": 0.5}),
        (6, 2, "train", {"decision_loss": 0.2}),
        (6, 2, "validation", {"decision_loss": 0.75, "node_f1": 0.75}),
    ]
    with (tmp_path / "metrics.jsonl").open("w") as file:
        for step, epoch, split, values in lines:
            line = {
                "step": step,
                "epoch": epoch,
                "split": split,
                "values": values,
                "learning_rate": 0.1,
                "wall_s": step,
            }
            file.write(json.dumps(line) + "\n")
    return tmp_path


def test_an_epoch_has_the_mean_over_its_steps_and_its_validation(workdir):
    first, second = runs.epoch_curve(workdir)
    assert first["train"]["decision_loss"] == pytest.approx((2 * 4.0 + 1.0) / 3)
    assert second["train"]["decision_loss"] == pytest.approx((2 * 0.5 + 0.2) / 3)
    assert first["validation"] == {"decision_loss": 2.5, "node_f1": 0.5}
    assert (second["epoch"], second["step"]) == (2, 6)


def test_first_and_last(workdir):
    assert runs.first_and_last(workdir, "decision_loss", "train") == (4.0, 0.2)
    assert runs.first_and_last(workdir, "decision_loss", "validation") == (2.5, 0.75)
    assert runs.first_and_last(workdir, "loss", "train") is None


def test_the_plot_is_a_png_of_what_there_is(workdir, tmp_path):
    pytest.importorskip("matplotlib")
    run = runs.TrainedRun(workdir, 0, 1.0, True, False, 6, "finished")
    out = runs.plot_loss([run, run], "decision_loss", tmp_path / "new" / "curve.png", "Loss", "nats")
    assert out.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="no run holds the metric other"):
        runs.plot_loss([run], "other", tmp_path / "x.png", "Loss", "nats")


def test_samples_and_catalog_are_written_where_the_configuration_says(tmp_path):
    catalog = Catalog(task_types=(TaskType(id="t0"), TaskType(id="t1")))
    train, validation = [PlanningSample("1", "x", ("t0",))], [PlanningSample("2", "y", ("t1",))]
    base = RunConfig(name="toy", data=DataConfig(train="elsewhere.jsonl", format="taskbench"))
    config = runs.over_samples(base, train, validation, tmp_path / "new", catalog)
    found = load_training_samples(config)
    assert [s.id for s in found.train] == ["1"]
    assert [s.id for s in found.validation] == ["2"]
    assert [t.id for t in found.catalog.task_types] == ["t0", "t1"]
    other = config.model_copy(update={"data": config.data.model_copy(update={"catalog": "kept.yaml"})})
    assert runs.over_samples(other, train, validation, tmp_path / "again").data.catalog == "kept.yaml"
