"""Learned arguments as a part of a planner's training: fitted before the loop, frozen in it, kept in checkpoints."""

import dataclasses

import numpy as np
import pytest
import yaml
from toy_planner import toy_config, write_files

from orchestai_jax.checkpoint import open_checkpoint
from orchestai_jax.config import parse_config
from orchestai_jax.data import load_samples, load_tokenizer, save_samples
from orchestai_jax.planner import Planner
from orchestai_jax.planner.argument_filler import make_filler
from orchestai_jax.planner.arguments.learned import LearnedFiller
from orchestai_jax.planner.saved import read_assets, read_spec
from orchestai_jax.training import METRICS_FILE, read_metrics, supervised
from orchestai_jax.training.errors import TrainingError
from orchestai_jax.training.monitoring import SilentMonitor
from orchestai_jax.workflow import Parameter, Value, load_catalog, save_catalog

FITTING = {"num_steps": 60, "batch_size": 32, "learning_rate": 0.02}


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """The toy files, each task type with a parameter: which file it is done to, as a number."""
    folder = tmp_path_factory.mktemp("arguments")
    write_files(folder)
    catalog = load_catalog(folder / "catalog.yaml")
    which = Parameter(name="file_number", type="integer", required=True, description="The number of the file")
    types = tuple(t.model_copy(update={"parameters": (which,)}) for t in catalog.task_types)
    save_catalog(catalog.model_copy(update={"task_types": types}), folder / "catalog.yaml")
    samples = load_samples(folder / "train.jsonl", "planning")[:80]
    given = [({"file_number": {"value": int(s.instruction[-1])}},) * len(s.task_types) for s in samples]
    save_samples(
        folder / "train.jsonl", [dataclasses.replace(s, arguments=a) for s, a in zip(samples, given, strict=True)]
    )
    return folder


def learned(files, **arguments):
    content = toy_config(files).model_dump(mode="json")
    content["planner"]["arguments"] = {"method": "learned", "hidden_size": 8, **arguments}
    content["training"]["arguments"] = FITTING
    return parse_config(yaml.safe_dump(content))


@pytest.fixture
def begun(told, tmp_path, monkeypatch):
    """What the training loop of a run with learned arguments is called with."""
    called = {}
    monkeypatch.setattr(supervised, "run_loop", lambda **arguments: called.update(arguments))
    monkeypatch.setattr(supervised, "make_evaluation", lambda *_: lambda state: {"score": 0.5})
    supervised.train_planner(learned(told), tmp_path / "run", monitor=SilentMonitor())
    return called


def test_the_scorer_is_fitted_before_the_loop_frozen_in_it_and_read_from_what_is_saved(begun):
    params = begun["state"].params
    names = {name for name in params["frozen"] if name.startswith("arguments.")}
    assert names
    assert not any(name.startswith("arguments.") for name in params["trainable"])
    metrics = begun["evaluate"](begun["state"])
    assert metrics["score"] == 0.5
    assert metrics["argument_value_f1"] > 0.9
    assert metrics["argument_reference_f1"] == 1.0  # there is none, and none is claimed
    spec, _ = read_spec(begun["metadata"], "run")
    tokenizer, catalog, _ = read_assets(begun["assets"], "run")
    parameters = {**params["trainable"], **params["frozen"]}
    fill = make_filler(spec.planner.arguments, parameters, load_tokenizer(tokenizer))
    assert isinstance(fill, LearnedFiller)
    filled = fill("soften file 6", ("blur",), (), catalog)
    assert filled.arguments[0]["file_number"] == Value(value=6)


@pytest.fixture(scope="module")
def trained(told, tmp_path_factory):
    """The work folder of a run of one epoch."""
    workdir = tmp_path_factory.mktemp("runs") / "learned"
    content = learned(told).model_dump(mode="json")
    content["training"]["phase1_supervised"]["num_epochs"] = 1
    supervised.train_planner(parse_config(yaml.safe_dump(content)), workdir, monitor=SilentMonitor())
    return workdir


@pytest.mark.slow  # trains and compiles a planner
def test_a_trained_planner_fills_what_it_learned_and_its_run_says_how_well(trained):
    planner = Planner.from_checkpoint(trained)
    assert planner.arguments("soften file 6", ["blur"])[0]["file_number"] == Value(value=6)
    (validation,) = [line for line in read_metrics(trained / METRICS_FILE) if line["split"] == "validation"]
    assert validation["values"]["argument_value_f1"] > 0.9


@pytest.mark.slow
def test_a_run_that_starts_from_it_keeps_its_scorer(trained, told, files, tmp_path, monkeypatch):
    called = {}
    monkeypatch.setattr(supervised, "run_loop", lambda **arguments: called.update(arguments))
    content = {
        "name": "update",
        "data": {"train": str(files / "train.jsonl"), "format": "planning", "validation_fraction": 0.2},
        "training": {"phase1_supervised": {"initialize_from": str(trained), "batch_size": 8}},
        "system": {"progress": "none"},
    }
    supervised.train_planner(parse_config(yaml.safe_dump(content)), tmp_path / "run", monitor=SilentMonitor())
    kept = open_checkpoint(trained).released_parameters()["frozen"]
    now = called["state"].params["frozen"]
    names = [name for name in kept if name.startswith("arguments.")]
    assert names
    for name in names:
        np.testing.assert_array_equal(np.asarray(now[name]), np.asarray(kept[name]))


def test_data_without_arguments_is_refused_before_a_folder_is_begun(files, tmp_path):
    with pytest.raises(TrainingError, match=r"planner\.arguments\.method is learned, but no training sample"):
        supervised.train_planner(learned(files), tmp_path / "run", monitor=SilentMonitor())
    assert not (tmp_path / "run").exists()


def test_rules_leave_no_trace(files, tmp_path, monkeypatch):
    called = {}
    monkeypatch.setattr(supervised, "run_loop", lambda **arguments: called.update(arguments))
    supervised.train_planner(toy_config(files), tmp_path / "run", monitor=SilentMonitor())
    params = called["state"].params
    assert not any(name.startswith("arguments.") for part in params.values() for name in part)
    assert all(np.isfinite(np.asarray(x)).all() for x in params["trainable"].values())
