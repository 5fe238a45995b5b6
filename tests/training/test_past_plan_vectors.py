"""Past plans of a training: read at each validation, kept in the checkpoint, carried over where the encoder stays."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
import yaml
from toy_planner import toy_config

from orchestai_jax.checkpoint import open_checkpoint
from orchestai_jax.config import parse_config
from orchestai_jax.data import PlanningSample, load_samples, save_samples
from orchestai_jax.evaluation import evaluate_planner
from orchestai_jax.planner import Planner
from orchestai_jax.planner.model import build_structure, merge_parameters
from orchestai_jax.planner.past_plans import PlanMemory, instruction_vectors
from orchestai_jax.planner.saved import read_spec
from orchestai_jax.training.monitoring import SilentMonitor
from orchestai_jax.training.past_plan_vectors import carried_over
from orchestai_jax.training.supervised import train_planner
from orchestai_jax.training.training_samples import load_training_samples

VOTING = {"method": "mbr", "beam_size": 3, "neighbours": 4, "neighbour_weight": 5.0}


def voting(config, **data):
    content = config.model_dump(mode="json", exclude_unset=True)
    content["planner"]["decoding"] = VOTING
    content["data"] |= data
    return parse_config(yaml.safe_dump(content))


@pytest.fixture(scope="module")
def parent(files, tmp_path_factory):
    """The work folder of a planner whose past plans vote (loudly, so that it shows)."""
    workdir = tmp_path_factory.mktemp("past") / "parent"
    result = train_planner(voting(toy_config(files, num_epochs=2)), workdir, monitor=SilentMonitor())
    return workdir, result


def vectors_of(reader, samples):
    """Instruction vectors one by one, by the checkpoint's network."""
    params = reader.restore()
    spec = read_spec(reader.metadata, "run")[0]
    model = merge_parameters(build_structure(spec)[0], {**params["trainable"], **params["frozen"]})
    tokenizer = Planner.from_checkpoint(reader.folder)._tokenizer
    found = []
    for sample in samples:
        ids = jnp.asarray([tokenizer.encode_batch([sample.instruction], 32)[0]])
        mask = jnp.ones(ids.shape, bool)
        lower = model.lower(ids, mask)
        found.append(np.asarray(instruction_vectors(lower, model.upper(lower, mask), mask))[0])
    return np.array(found)


def test_the_checkpoint_holds_the_vectors_of_its_own_network(files, parent):
    reader = open_checkpoint(parent[0], "latest")
    train = load_training_samples(toy_config(files)).train
    vectors = np.asarray(reader.restore()["past"]["vectors"])
    assert vectors.shape == (len(train), 32)
    some = [0, 7, len(train) - 1]
    np.testing.assert_allclose(vectors[some], vectors_of(reader, [train[i] for i in some]), atol=2e-3)


def test_a_planner_plans_as_its_validation_did(files, parent):
    workdir, result = parent
    validation = load_training_samples(toy_config(files)).validation
    scores = evaluate_planner(Planner.from_checkpoint(workdir), validation).scores.means
    for name in ("node_f1", "link_f1", "accuracy"):
        assert scores[name] == pytest.approx(result.best_metrics[name], abs=1e-6)


def test_an_update_that_leaves_the_encoder_alone_carries_the_past_over(files, parent, tmp_path):
    workdir, _ = parent
    samples = load_samples(files / "train.jsonl", "planning")
    more = [dataclasses.replace(s, id=f"more{i}") for i, s in enumerate(samples[:40])]
    save_samples(tmp_path / "more.jsonl", more)
    content = {
        "name": "update",
        "data": {"train": str(tmp_path / "more.jsonl"), "format": "planning", "validation_fraction": 0.2},
        "training": {
            "phase1_supervised": {
                "batch_size": 8,
                "num_epochs": 1,
                "freeze_encoder": True,
                "initialize_from": str(workdir),
            }
        },
        "system": {"progress": "none"},
    }
    config = parse_config(yaml.safe_dump(content))
    result = train_planner(config, tmp_path / "run", monitor=SilentMonitor())
    before, after = open_checkpoint(workdir), open_checkpoint(tmp_path / "run", "latest")
    earlier, now = (np.asarray(r.restore()["past"]["vectors"]) for r in (before, after))
    fresh = load_training_samples(config).train
    assert len(now) == len(earlier) + len(fresh)
    np.testing.assert_array_equal(now[: len(earlier)], earlier)
    np.testing.assert_allclose(now[len(earlier) :][:3], vectors_of(after, fresh[:3]), atol=2e-3)
    validation = load_training_samples(config).validation
    scores = evaluate_planner(Planner.from_checkpoint(tmp_path / "run"), validation).scores.means
    assert scores["link_f1"] == pytest.approx(result.best_metrics["link_f1"], abs=1e-6)


def test_a_corrected_plan_takes_the_place_of_the_old_one():
    kept = PlanMemory(("a", "b"), (("blur",), ("zip",)))
    vectors = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)
    samples = [
        PlanningSample("b", "x", ("crop",)),
        PlanningSample("a", "y", ("blur",)),
        PlanningSample("c", "z", ("zip",)),
    ]

    def read(texts):
        return np.full((len(texts), 2), 0.5, np.float32)

    memory, found = carried_over((kept, vectors), samples, read)
    assert memory == PlanMemory(("a", "b", "c"), (("blur",), ("crop",), ("zip",)))
    np.testing.assert_array_equal(found, [[1.0, 0.0], [0.5, 0.5], [0.5, 0.5]])
