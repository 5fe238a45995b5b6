"""Training a planner from another one's weights: what is taken over, what is new, and what is refused."""

import dataclasses
import types

import chex
import jax
import numpy as np
import pytest
import yaml
from toy_planner import VERBS, toy_config

from orchestai_jax.checkpoint import CheckpointError, open_checkpoint
from orchestai_jax.config import parse_config
from orchestai_jax.data import load_samples, save_samples
from orchestai_jax.training import supervised
from orchestai_jax.training.monitoring import SilentMonitor
from orchestai_jax.training.starting_planner import TASK_TYPE_ROWS, WORKER_ROWS
from orchestai_jax.training.supervised import train_planner
from orchestai_jax.workflow import TaskType, WorkerSpec, load_catalog, save_catalog


class Begun(Exception):
    """Raised in place of the first step."""


class StopAfter(SilentMonitor):
    """Raises at a step, as a crash would."""

    def __init__(self, step):
        self.last = step

    def step(self, step, values, learning_rate):
        if step == self.last:
            raise RuntimeError("crash")


@pytest.fixture(scope="module")
def parent(files, tmp_path_factory):
    """A planner that was trained for an epoch, and what its checkpoint holds."""
    workdir = tmp_path_factory.mktemp("runs") / "parent"
    train_planner(toy_config(files, num_epochs=1, ema_decay=0.9), workdir, monitor=SilentMonitor())
    reader = open_checkpoint(workdir)
    params = reader.released_parameters()
    return types.SimpleNamespace(workdir=workdir, reader=reader, parameters={**params["trainable"], **params["frozen"]})


@pytest.fixture
def begin(monkeypatch, tmp_path):
    """Begins a run of a configuration and gives the state that it starts from, and the metadata of its checkpoints."""

    def stop(*, state, metadata, **_):
        raise Begun(state, metadata)

    def begin(config):
        monkeypatch.setattr(supervised, "run_loop", stop)
        with pytest.raises(Begun) as caught:
            train_planner(config, tmp_path / "begun", monitor=SilentMonitor())
        return caught.value.args

    return begin


def update(files, parent, planner=None, **phase):
    """The configuration of a run that goes on from the parent and leaves the rest of the planner's settings to it."""
    given = {"batch_size": 8, "num_epochs": 1, "log_every_steps": 1, "initialize_from": str(parent.workdir), **phase}
    return parse_config(
        yaml.safe_dump(
            {
                "name": "update",
                "data": {"train": str(files / "train.jsonl"), "format": "planning", "validation_fraction": 0.2},
                "planner": planner or {},
                "training": {"phase1_supervised": given},
                "system": {"progress": "none"},
            }
        )
    )


def parameters_of(state):
    return {**state.params["trainable"], **state.params["frozen"]}


def test_weights_and_settings_are_the_parents_and_the_optimizer_is_new(files, parent, begin):
    state, metadata = begin(update(files, parent, {"decoding": {"method": "beam"}}))
    chex.assert_trees_all_equal(parameters_of(state), parent.parameters)  # the average, as it was kept
    moments = [leaf for leaf in jax.tree.leaves(state.opt_state) if leaf.ndim]
    assert moments
    assert not any(np.any(leaf) for leaf in moments)
    assert int(state.step) == 0
    wanted = {**parent.reader.metadata["planner"]}
    wanted["decoding"] = {**wanted["decoding"], "method": "beam"}
    assert metadata["planner"] == wanted
    assert metadata["config"]["planner"] == wanted


def test_rows_go_by_the_names_of_task_types_and_workers(files, parent, begin, tmp_path):
    catalog = load_catalog(files / "catalog.yaml")
    new_type = TaskType(id="stamp", description="stamp a file")
    workers = (WorkerSpec(id="zero", task_types=("blur",)), *reversed(catalog.workers))
    catalog = catalog.model_copy(update={"task_types": (new_type, *reversed(catalog.task_types)), "workers": workers})
    save_catalog(catalog, tmp_path / "catalog.yaml")
    samples = load_samples(files / "train.jsonl", "planning")
    stamped = dataclasses.replace(samples[0], task_types=("stamp",), dependencies=(), workers=None, complexities=None)
    save_samples(tmp_path / "train.jsonl", [*samples, *(dataclasses.replace(stamped, id=f"n{i}") for i in range(20))])
    config = update(files, parent).model_dump(mode="json", exclude_unset=True)
    config["data"] |= {"train": str(tmp_path / "train.jsonl"), "catalog": str(tmp_path / "catalog.yaml")}
    found = parameters_of(begin(parse_config(yaml.safe_dump(config)))[0])
    before = dict(zip(VERBS, np.asarray(parent.parameters[TASK_TYPE_ROWS]), strict=True))
    assert all(np.any(row) for row in before.values())  # trained, so that rows can be told from new ones
    wanted = [np.zeros_like(before["blur"]), *(before[name] for name in reversed(VERBS))]
    np.testing.assert_array_equal(found[TASK_TYPE_ROWS], wanted)
    one, two = np.asarray(parent.parameters[WORKER_ROWS])
    np.testing.assert_array_equal(found[WORKER_ROWS], [np.zeros_like(one), two, one])


@pytest.mark.parametrize(
    ("planner", "says"),
    [
        (
            {"encoder": {"hidden_size": 32, "num_heads": 2}},
            r"decomposer\S* is saved as float32\[\S*16\S*\], the model wants float32\[\S*32\S*\]; it belongs",
        ),
        (
            {"worker_selector": {"hidden_size": 12}},
            r"worker_selector\.complexity\.kernel is saved as float32\[16,1\], the model wants float32\[24,1\]; it",
        ),
        ({"decomposer": {"kind": "lstm"}}, "has no decomposer"),
        ({"task_type_graph": {"layer": "sage"}}, r"has no task_type_graph\.layers"),
        ({"encoder": {"hidden_size": 16, "num_heads": 4}}, "the encoder's num_heads is 2 there and 4 in this run"),
        ({"decomposer": {"num_heads": 4}}, r"planner\.decomposer\.num_heads is 2 there and 4 in this run"),
    ],
)
def test_another_planner_is_refused_with_what_differs_first(files, parent, tmp_path, planner, says):
    with pytest.raises(CheckpointError, match=rf"parent \(step 25\): .*{says}"):
        train_planner(update(files, parent, planner), tmp_path / "run", monitor=SilentMonitor())
    assert not (tmp_path / "run").exists()


def test_what_is_no_planner_is_refused(files, parent, tmp_path):
    nothing = types.SimpleNamespace(workdir=tmp_path / "nothing")
    with pytest.raises(CheckpointError, match="nothing: no such folder"):
        train_planner(update(files, nothing), tmp_path / "run", monitor=SilentMonitor())
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_run_from_a_planner_goes_on_bit_for_bit(files, parent, tmp_path):
    config = update(files, parent, num_epochs=2, save_every_steps=7)
    train_planner(config, tmp_path / "whole", monitor=SilentMonitor())
    with pytest.raises(RuntimeError, match="crash"):
        train_planner(config, tmp_path / "cut", monitor=StopAfter(12))
    train_planner(config, tmp_path / "cut", resume=True, monitor=SilentMonitor())
    whole, cut = (open_checkpoint(tmp_path / name, "latest").restore(subtree=None) for name in ("whole", "cut"))
    chex.assert_trees_all_equal(whole, cut)
