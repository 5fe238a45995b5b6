"""Learning from run records: what is new is learned, what is old is gone over again, counted once, and not lost."""

import dataclasses
import pathlib
import types

import numpy as np
import pytest
import yaml
from toy_planner import VERBS, toy_config

from orchestai_jax.checkpoint import open_checkpoint
from orchestai_jax.config import ConfigError, load_config, parse_config
from orchestai_jax.data import PlanningSample
from orchestai_jax.planner import Planner
from orchestai_jax.planner.catalog_arrays import PlanStatistics
from orchestai_jax.planner.model import partition
from orchestai_jax.planner.saved import read_assets, read_spec
from orchestai_jax.training.kept_samples import KeptSamples, kept_samples, spread_over_types
from orchestai_jax.training.monitoring import SilentMonitor
from orchestai_jax.training.starting_planner import StartingPlanner
from orchestai_jax.training.supervised import train_planner
from orchestai_jax.training.training_samples import load_training_samples
from orchestai_jax.workflow import (
    Catalog,
    RunRecord,
    Task,
    TaskRun,
    TaskType,
    WorkerSpec,
    Workflow,
    append_record,
    load_catalog,
    save_catalog,
)


@pytest.fixture(scope="module")
def parent(files, tmp_path_factory):
    """A planner that knows four task types."""
    workdir = tmp_path_factory.mktemp("runs") / "parent"
    config = toy_config(files, num_epochs=4)
    config = config.model_copy(update={"data": config.data.model_copy(update={"keep_samples": 60})})
    train_planner(config, workdir, monitor=SilentMonitor())
    reader = open_checkpoint(workdir)
    return types.SimpleNamespace(workdir=workdir, reader=reader, config=config)


@pytest.fixture(scope="module")
def news(files, tmp_path_factory):
    """Runs of a task type and a worker that the catalog got since, and that catalog."""
    folder = tmp_path_factory.mktemp("news")
    old = load_catalog(files / "catalog.yaml")
    new_type = old.task_types[0].model_copy(update={"id": "fold", "description": "bend a file"})
    worker = WorkerSpec(id="three", task_types=("fold",))
    catalog = Catalog(name="now", task_types=(new_type, *old.task_types), workers=(worker, *old.workers))
    save_catalog(catalog, folder / "catalog.yaml")
    for i in range(40):
        order = ("fold", "zip") if i % 2 else ("zip", "fold")
        words = {"fold": "bend", "zip": VERBS["zip"]}
        text = ", then ".join(f"{words[t]} file {i}" for t in order)
        tasks = tuple(
            Task(id=f"t{j}", task_type=t, worker="three" if t == "fold" else "one", depends_on=("t0",) if j else ())
            for j, t in enumerate(order)
        )
        ran = tuple(
            TaskRun(task=t.id, task_type=t.task_type, worker=t.worker, status="succeeded", duration_s=1.0)
            for t in tasks
        )
        record = RunRecord(
            run_id=f"r{i}", instruction=text, workflow=Workflow(instruction=text, tasks=tasks), tasks=ran,
            status="succeeded",
        )  # fmt: skip
        append_record(folder / "records.jsonl", record)
    return types.SimpleNamespace(records=folder / "records.jsonl", catalog=folder / "catalog.yaml")


def _update(parent, news, **phase):
    return parse_config(
        yaml.safe_dump(
            {
                "name": "update",
                "data": {"records": str(news.records), "catalog": str(news.catalog), "validation_fraction": 0.2},
                "training": {
                    "phase1_supervised": {
                        "initialize_from": str(parent.workdir), "freeze_encoder": True, "batch_size": 8,
                        "num_epochs": 6, "learning_rate": 0.01, "early_stop_patience": None, **phase,
                    }
                },
                "system": {"progress": "none"},
            }
        )
    )  # fmt: skip


def _parameters(workdir):
    params = open_checkpoint(workdir, "latest").restore()
    return {**params["trainable"], **params["frozen"]}


def test_new_records_are_learned_and_the_old_is_kept(parent, news, tmp_path):
    train_planner(_update(parent, news), tmp_path, monitor=SilentMonitor())
    before, after = Planner.from_checkpoint(parent.workdir), Planner.from_checkpoint(tmp_path)
    new = "bend file 3, then pack file 3"
    assert [(t.task_type, t.worker) for t in after.plan(new).tasks] == [("fold", "three"), ("zip", "one")]
    kept = KeptSamples.of(parent.reader)

    def right(planner):
        plans = planner.plan_many([s.instruction for s in kept.validation])
        pairs = zip(plans, kept.validation, strict=True)
        return np.mean([{t.task_type for t in plan.tasks} == sample.nodes for plan, sample in pairs])

    assert right(after) >= right(before) - 0.1
    old, found = _parameters(parent.workdir), _parameters(tmp_path)
    encoder = [name for name in old if name.startswith(("encoder.", "describer."))]
    assert encoder
    assert all(np.array_equal(old[name], found[name]) for name in encoder)
    assert not np.array_equal(old["label_head.key.kernel"], found["label_head.key.kernel"])
    # and what it keeps now holds both
    now = {t for s in KeptSamples.of(open_checkpoint(tmp_path)).train for t in s.nodes}
    assert now == {*VERBS, "fold"}


def test_samples_are_the_records_and_those_kept_and_counts_are_not_doubled(parent, news):
    config = _update(parent, news)
    start = StartingPlanner.of(config)
    samples = load_training_samples(start.settled(config), start)
    assert len(samples.kept) == 60
    assert len(samples.train) == 60 + sum(s.id.startswith("r") for s in samples.train)
    assert sum(s.id.startswith("s") for s in samples.validation) == 30
    assert sum(s.id.startswith("r") for s in samples.validation) == 40 - (len(samples.train) - 60)
    old = read_assets(parent.reader.assets, "")[2]
    here, there = samples.statistics, {t: i for i, t in enumerate(old.task_types)}
    for one in VERBS:
        for other in VERBS:
            pair = [here.task_types.index(t) for t in (one, other)]
            assert here.transitions[*pair] == old.transitions[there[one], there[other]]
    new = [s for s in samples.train if s.id.startswith("r")]
    fold, pack, stop = here.task_types.index("fold"), here.task_types.index("zip"), len(here.task_types)
    assert here.transitions[fold, pack] == sum(s.task_types == ("fold", "zip") for s in new)
    assert here.transitions[pack, stop] == old.transitions[there["zip"], -2] + sum(
        s.task_types == ("fold", "zip") for s in new
    )
    assert here.workers[0] == "three"


def test_counts_of_types_that_are_gone_are_left_out():
    first = Catalog(task_types=(TaskType(id="a"), TaskType(id="b")))
    now = Catalog(task_types=(TaskType(id="c"), TaskType(id="b")))
    runs = [PlanningSample("1", "x", ("a", "b"), ((0, 1),)), PlanningSample("2", "x", ("b", "a"))]
    total = PlanStatistics.of([PlanningSample("3", "x", ("c", "b"))], now).plus(PlanStatistics.of(runs, first))
    start, stop, other = 2, 2, 3
    assert total.transitions[start].tolist() == [1, 1, 0, 0]
    assert total.transitions[1].tolist() == [0, 0, 2, 0]  # b was last twice; b -> a is of a type that is gone
    assert total.transitions[0, 1] == 1
    assert total.transitions[other].sum() == total.transitions[:, other].sum() == total.edges.sum() == 0
    assert total.transitions[:, stop].tolist() == [0, 2, 0, 0]


def test_a_frozen_encoder_is_no_part_of_what_is_trained(parent):
    spec, _ = read_spec(parent.reader.metadata, "")
    parameters = _parameters(parent.workdir)
    frozen = dataclasses.replace(spec, encoder_is_frozen=True)
    assert any(name.startswith("encoder.") for name in partition(parameters, spec)["trainable"])
    assert not any(name.startswith("encoder.") for name in partition(parameters, frozen)["trainable"])
    assert frozen.shared_layers == spec.shared_layers


def test_kept_samples_spread_over_task_types():
    many = [PlanningSample(f"c{i}", "x", ("common",)) for i in range(50)]
    rare = [PlanningSample(f"r{i}", "x", ("common", f"rare{i}")) for i in range(5)]
    chosen = spread_over_types([*many, *rare], 8)
    assert len(chosen) == 8
    assert {f"rare{i}" for i in range(5)} <= {t for s in chosen for t in s.nodes}
    assert chosen == spread_over_types([*many, *rare], 8)
    assert [s.id for s in chosen] == sorted([s.id for s in chosen], key=[s.id for s in [*many, *rare]].index)
    assert spread_over_types(rare, 8) == rare
    assert kept_samples(many, rare, 0) == {}


def test_kept_samples_lose_what_the_catalog_has_lost():
    sample = PlanningSample("1", "x", ("a", "b"), workers=("w", "v"))
    catalog = Catalog(task_types=(TaskType(id="a"), TaskType(id="b")), workers=(WorkerSpec(id="w", task_types=("a",)),))
    assert KeptSamples([sample], []).over(catalog).train[0].workers == ("w", None)
    assert KeptSamples([sample], []).over(Catalog(task_types=(TaskType(id="a"),))).train == []


def test_records_need_a_planner_and_a_run_has_one_source(parent, news, tmp_path):
    config = _update(parent, news, initialize_from=None)
    with pytest.raises(ConfigError, match=r"data.records is for a planner that is trained already"):
        train_planner(config, tmp_path / "x", monitor=SilentMonitor())
    assert not (tmp_path / "x").exists()
    text = yaml.safe_dump({"name": "x", "data": {"records": "r", "train": "t"}})
    with pytest.raises(ConfigError, match="give train or records"):
        parse_config(text)
    with pytest.raises(ConfigError, match="give train or records"):
        parse_config(yaml.safe_dump({"name": "x", "data": {}}))


def test_the_configuration_of_updates_is_one():
    file = pathlib.Path(__file__).parents[2] / "configs" / "planner_update.yaml"
    config = load_config(file, ["data.records=x.jsonl"])
    assert config.training.phase1_supervised.freeze_encoder
    assert config.data.source == "x.jsonl"
