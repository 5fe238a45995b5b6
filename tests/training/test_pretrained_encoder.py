"""Training a planner for real, small, on an imported encoder: what is frozen stays, what is cached equals what is
computed, it learns, it goes on bit for bit, its work folder makes a Planner."""

import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
import types

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml
from random_bert import as_parameters, unit_vector, write_bert
from toy_planner import VERBS, toy_config

from orchestai_jax.checkpoint import open_checkpoint
from orchestai_jax.config import Phase1Config
from orchestai_jax.data import load_samples, load_tokenizer, save_samples, train_tokenizer
from orchestai_jax.planner import Planner
from orchestai_jax.planner.catalog_arrays import PlanStatistics, build_catalog_arrays, description_texts
from orchestai_jax.planner.description_vectors import catalog_vectors
from orchestai_jax.planner.loss import planning_loss
from orchestai_jax.planner.model import build_structure, merge_parameters
from orchestai_jax.planner.saved import read_spec
from orchestai_jax.training.monitoring import SilentMonitor
from orchestai_jax.training.planning_data import PlanningData
from orchestai_jax.training.supervised import train_planner
from orchestai_jax.workflow import load_catalog


class Noting(SilentMonitor):
    """Remembers which texts were encoded ahead of the training, and what was said."""

    def __init__(self):
        self.encoded, self.notes = set(), []

    def progress(self, what, done, total):
        self.encoded.add(what)

    def note(self, text):
        self.notes.append(text)


class StopAfter(SilentMonitor):
    """Raises at a step, as a crash would."""

    def __init__(self, step):
        self.last = step

    def step(self, step, values, learning_rate):
        if step == self.last:
            raise RuntimeError("crash")


def metrics_of(workdir):
    lines = [json.loads(line) for line in (pathlib.Path(workdir) / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "wall_s"} for line in lines]


def parameters_of(workdir):
    return open_checkpoint(workdir, "latest").restore()


@pytest.fixture(scope="module")
def imported(files, tmp_path_factory):
    """The folder of a two-layer BERT, the toy samples with step texts beside it, and its tensors."""
    folder = tmp_path_factory.mktemp("pretrained")
    (folder / "bert").mkdir()
    words = [" ".join([*VERBS, *VERBS.values()]), "then a file one two 0 1 2 3 4 5 6"]
    tensors = write_bert(folder / "bert", train_tokenizer(words, 100))
    samples = [
        dataclasses.replace(s, step_texts=tuple(f"Step 1 Call {t} to {VERBS[t]} the file" for t in s.task_types))
        for s in load_samples(files / "train.jsonl", "planning")
    ]
    save_samples(folder / "train.jsonl", samples)
    (folder / "catalog.yaml").write_bytes((files / "catalog.yaml").read_bytes())
    return folder, tensors


@pytest.fixture(scope="module")
def config(imported):
    """Makes the configuration of a run that tunes the last of the two layers."""
    encoder = {"weights": str(imported[0] / "bert"), "trainable_layers": 1}
    return lambda **phase: toy_config(imported[0], encoder=encoder, step_texts_per_batch=4, **phase)


@pytest.fixture(scope="module")
def trained(imported, config, tmp_path_factory):
    """The run that nothing interrupts, and all about it."""
    folder, tensors = imported
    workdir, monitor = tmp_path_factory.mktemp("runs") / "whole", Noting()
    result = train_planner(config(), workdir, monitor=monitor)
    reader = open_checkpoint(workdir, "latest")
    return types.SimpleNamespace(
        workdir=workdir,
        result=result,
        monitor=monitor,
        tensors=tensors,
        samples=load_samples(folder / "train.jsonl", "planning"),
        catalog=load_catalog(folder / "catalog.yaml"),
        tokenizer=load_tokenizer(folder / "bert"),
        graphdef=build_structure(read_spec(reader.metadata, "run")[0])[0],
        params=reader.restore(),
        source=reader.metadata["encoder_source"],
    )


def test_the_imported_encoder_is_the_one_in_use_and_its_lower_layers_are_computed_once(trained):
    assert trained.source.endswith("(local folder bert)")
    assert any("local folder bert" in note for note in trained.monitor.notes)
    assert trained.monitor.encoded >= {
        "encoding descriptions",
        "encoding training texts",
        "encoding validation texts",
    }


def test_what_is_frozen_is_bit_for_bit_what_was_imported_and_the_tuned_layer_moves(trained):
    imported = as_parameters(trained.tensors)
    tuned = {name for name in imported if name.startswith("encoder.layers.1.")}
    frozen = {name: value for name, value in imported.items() if name not in tuned}
    # The description encoder keeps the tuned layer as it was, and shares what is below it.
    frozen |= {name.replace("encoder.layers.1", "describer.layers.0"): imported[name] for name in tuned}
    chex.assert_trees_all_equal(trained.params["frozen"], frozen)
    assert {name for name in trained.params["trainable"] if name.startswith("encoder.")} == tuned
    for name in tuned:
        moved = np.abs(np.asarray(trained.params["trainable"][name]) - imported[name]).max()
        assert 1e-6 < moved < 1, name


def test_descriptions_have_the_imported_encoders_vectors_before_training_and_after(trained):
    token_ids = trained.tokenizer.encode_batch(description_texts(trained.catalog), 64)
    wanted = np.array([unit_vector(trained.tensors, ids) for ids in token_ids])
    before = np.asarray(trained.params["catalog"]["vectors"])  # computed when the training began
    np.testing.assert_allclose(before, wanted, atol=1e-5)
    parameters = {**trained.params["trainable"], **trained.params["frozen"]}
    after = catalog_vectors(trained.graphdef, parameters, trained.tokenizer, trained.catalog)
    np.testing.assert_array_equal(after, before)


def test_cached_lower_layers_give_the_loss_of_token_ids(trained):
    # Flat scores, so that the losses are far from zero.
    flat = {"label_head.token_scale": jnp.float32(1), "label_head.pooled_scale": jnp.float32(1)}
    parameters = {**trained.params["trainable"], **trained.params["frozen"], **flat}
    statistics = PlanStatistics.of(trained.samples, trained.catalog)
    arrays = build_catalog_arrays(trained.catalog, np.asarray(trained.params["catalog"]["vectors"]), statistics)

    @jax.jit
    def lower(ids, mask):
        return merge_parameters(trained.graphdef, parameters).lower(ids, mask)

    def batch(lower):
        data = PlanningData(
            trained.samples[:8],
            trained.catalog,
            trained.tokenizer,
            max_tokens=32,
            max_tasks=4,
            default_preference=(1.0, 0.25, 0.25),
            lower=lower,
            step_texts_per_batch=4,
        )
        return data.collate(np.arange(8), np.ones(8, np.float32), 32)

    @jax.jit
    def losses(parameters, batch):
        # Only what depends on the tokens alone, so that the rest of the loss need not be compiled.
        model = merge_parameters(trained.graphdef, parameters)
        parts = planning_loss(model, arrays, batch, Phase1Config(), None)[1]
        return {name: parts[name] for name in ("label_loss", "step_text_loss")}

    cached, computed = batch(lambda ids, mask: np.asarray(lower(ids, mask))), batch(None)
    assert (cached.tokens.ndim, cached.step_tokens.ndim) == (3, 3)
    assert (computed.tokens.ndim, computed.step_tokens.ndim) == (2, 2)
    chex.assert_trees_all_close(losses(parameters, cached), losses(parameters, computed), rtol=1e-5)


def test_it_learns_and_plans(trained):
    train = [line["values"] for line in metrics_of(trained.workdir) if line["split"] == "train"]
    assert all(values["step_text_loss"] > 0 for values in train)
    assert train[0]["decision_loss"] > 1.2
    assert train[-1]["decision_loss"] < 0.5 * train[0]["decision_loss"]
    assert trained.result.best_metrics["node_f1"] > 0.8
    planner = Planner.from_checkpoint(trained.workdir)
    workflow = planner.plan("soften file 3, then cut file 3")
    assert [t.task_type for t in workflow.tasks] == ["blur", "crop"]
    assert workflow.edges == (("t1", "t2"),)
    assert workflow.tasks[0].worker == "two"
    assert workflow.tasks[0].complexity == pytest.approx(0.5, abs=0.3)
    checkpoint = next((trained.workdir / "checkpoints").iterdir())
    assert Planner.from_checkpoint(checkpoint).catalog == planner.catalog


def test_a_run_that_crashed_goes_on_bit_for_bit(config, trained, tmp_path):
    # An epoch has 25 steps: the last checkpoint before the crash lies inside the second.
    with pytest.raises(RuntimeError, match="crash"):
        train_planner(config(save_every_steps=30), tmp_path / "run", monitor=StopAfter(33))
    train_planner(config(save_every_steps=30), tmp_path / "run", resume=True, monitor=SilentMonitor())
    chex.assert_trees_all_equal(trained.params, parameters_of(tmp_path / "run"))
    assert metrics_of(trained.workdir) == metrics_of(tmp_path / "run")


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on_bit_for_bit(config, trained, tmp_path):
    file = tmp_path / "toy.yaml"
    file.write_text(yaml.safe_dump(config(save_every_steps=3).model_dump(mode="json")))
    program = [sys.executable, "-c", "from orchestai_jax.cli import main; main()"]
    command = [*program, "train", str(file), "--workdir", str(tmp_path / "run")]
    for attempt, wait in enumerate((2, 1, 4, 0)):
        resume = ["--resume"] if (tmp_path / "run").exists() else []
        process = subprocess.Popen([*command, *resume], env={**os.environ, "JAX_PLATFORMS": "cpu"})
        if attempt == 3:
            assert process.wait(120) == 0
            break
        log = tmp_path / "run" / "metrics.jsonl"
        before = len(metrics_of(tmp_path / "run")) if log.exists() else 0
        deadline = time.monotonic() + 100
        while process.poll() is None and time.monotonic() < deadline:
            if log.exists() and len(log.read_text().splitlines()) > before + wait:
                break
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait(30)
    chex.assert_trees_all_equal(trained.params, parameters_of(tmp_path / "run"))
    assert metrics_of(trained.workdir) == metrics_of(tmp_path / "run")
