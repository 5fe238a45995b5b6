"""What a training run is begun with: fields of the configuration change its batches, its step compiles once."""

import dataclasses
import itertools

import jax
import numpy as np
import pytest
import yaml
from toy_planner import toy_config, write_files

from orchestai_jax.config import parse_config
from orchestai_jax.data import load_samples, save_samples
from orchestai_jax.planner.model import build_structure, merge_parameters
from orchestai_jax.planner.saved import read_assets, read_spec
from orchestai_jax.training import supervised
from orchestai_jax.training.monitoring import SilentMonitor
from orchestai_jax.workflow import TaskType, WorkerSpec, load_catalog, save_catalog


class Begun(Exception):
    """Raised in place of the first step."""


@pytest.fixture
def begin(monkeypatch, tmp_path):
    """Begins a run and gives what the training loop was called with, and an epoch's batches."""
    numbers = itertools.count()

    def stop(*, batches, **arguments):
        raise Begun(arguments, [next(batches) for _ in range(batches.steps_per_epoch)])

    monkeypatch.setattr(supervised, "run_loop", stop)

    def begin(config):
        with pytest.raises(Begun) as caught:
            supervised.train_planner(config, tmp_path / f"run{next(numbers)}", monitor=SilentMonitor())
        return caught.value.args

    return begin


@pytest.fixture(scope="module")
def files_with_steps(tmp_path_factory):
    """The toy samples with a text for each step."""
    folder = tmp_path_factory.mktemp("steps")
    write_files(folder)
    samples = load_samples(folder / "train.jsonl", "planning")
    told = [dataclasses.replace(s, step_texts=tuple(f"do {t} now" for t in s.task_types)) for s in samples]
    save_samples(folder / "train.jsonl", told)
    return folder


@pytest.mark.parametrize(
    ("phase", "rows"),
    [
        ({"step_texts_per_batch": 3}, 3),
        ({"step_texts_per_batch": 0}, 0),
        ({"step_texts_per_batch": 3, "step_text_loss_weight": 0}, 0),
    ],
)
def test_step_texts_per_batch_are_that_many(files_with_steps, begin, phase, rows):
    _, batches = begin(toy_config(files_with_steps, **phase))
    for batch in batches:
        assert batch.step_tokens.shape[0] == batch.step_mask.shape[0] == batch.step_task_types.shape[0] == rows


def test_batch_size_is_that_many_instructions(files, begin):
    assert {batch.tokens.shape[0] for batch in begin(toy_config(files, batch_size=5))[1]} == {5}


@pytest.mark.parametrize(("max_tokens", "longest"), [(9, 9), (32, 15)])
def test_max_tokens_cuts_and_every_token_has_a_finite_embedding(files, begin, max_tokens, longest):
    """From scratch there are `max_tokens` positions: padding must not go beyond them."""
    arguments, batches = begin(toy_config(files, encoder={"max_tokens": max_tokens}))
    assert max(int(batch.mask.sum(axis=1).max()) for batch in batches) == longest
    graphdef, _ = build_structure(read_spec(arguments["metadata"], "run")[0])
    params = arguments["state"].params
    model = merge_parameters(graphdef, {**params["trainable"], **params["frozen"]})
    assert np.isfinite(np.asarray(model.lower(batches[0].tokens, batches[0].mask))).all()


def test_the_second_step_compiles_nothing(files, begin):
    """A step gives back the kinds of arrays that it was given: shapes, types, and none of them weakly typed."""
    arguments, batches = begin(toy_config(files))

    def kinds(state):
        return [
            (jax.tree_util.keystr(path), x.shape, x.dtype, getattr(x, "weak_type", False))
            for path, x in jax.tree_util.tree_leaves_with_path(state)
        ]

    after, _ = jax.eval_shape(arguments["train_step"], arguments["state"], batches[0])
    assert kinds(after) == kinds(arguments["state"])


def test_types_that_never_occur_are_planned_over_but_not_trained_on(files, begin, tmp_path):
    catalog = load_catalog(files / "catalog.yaml")
    more = (TaskType(id="sharpen", description="harden a file"), *catalog.task_types, TaskType(id="print"))
    workers = (WorkerSpec(id="zero", task_types=("print",)), *catalog.workers)
    save_catalog(catalog.model_copy(update={"task_types": more, "workers": workers}), tmp_path / "more.yaml")
    few, many = (toy_config(files).model_dump(mode="json") for _ in range(2))
    many["data"]["catalog"] = str(tmp_path / "more.yaml")
    (_, batches), (arguments, same_batches) = (begin(parse_config(yaml.safe_dump(c))) for c in (few, many))
    for one, other in zip(batches, same_batches, strict=True):
        np.testing.assert_array_equal(one.chosen, other.chosen)
        np.testing.assert_array_equal(one.workers, np.where(other.workers > 0, other.workers - 1, other.workers))
    spec = read_spec(arguments["metadata"], "run")[0]
    assert (spec.num_known_task_types, spec.num_known_workers) == (4, 3)
    assert arguments["state"].params["trainable"]["task_types.free_embedding"].shape[0] == 4
    assert arguments["state"].params["catalog"]["vectors"].shape[0] == len(more) + len(workers)
    _, planned, statistics = read_assets(arguments["assets"], "run")
    assert [t.id for t in planned.task_types] == [t.id for t in more]
    assert statistics.task_types == tuple(t.id for t in catalog.task_types)
    assert np.isfinite(list(arguments["evaluate"](arguments["state"]).values())).all()
    _, measured = arguments["train_step"](arguments["state"], same_batches[0])
    assert np.isfinite(float(measured["loss"]))
