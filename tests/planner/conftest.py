"""A tiny catalog and planner, built in a second."""

import pathlib
import sys

import numpy as np
import pytest

from orchestai_jax.config import PlannerConfig, Preference
from orchestai_jax.data import train_tokenizer
from orchestai_jax.planner import Planner
from orchestai_jax.planner.catalog_arrays import PlanStatistics, build_catalog_arrays
from orchestai_jax.planner.description_vectors import catalog_vectors
from orchestai_jax.planner.model import ModelSpec, build_model, split_parameters
from orchestai_jax.planner.text_encoder import TextEncoderConfig
from orchestai_jax.workflow import Catalog, Link, Port, TaskType, WorkerSpec

sys.path.insert(0, str(pathlib.Path(__file__).parent))  # the tests here share planned_arguments.py

TEXT, IMAGE = Port(name="text", type="text"), Port(name="image", type="image")


def tiny_config(**decoding):
    """A planner of a few thousand parameters."""
    return PlannerConfig.model_validate(
        {
            "encoder": {"weights": "none", "hidden_size": 16, "num_heads": 2, "num_layers": 1, "intermediate_size": 16},
            "decomposer": {"num_heads": 2, "max_tasks": 3, "dropout": 0.1},
            "graph_generator": {"hidden_size": 8},
            "worker_selector": {"hidden_size": 8},
            "decoding": decoding,
        }
    )


@pytest.fixture(scope="session")
def catalog():
    """Five types: two on text, two on images, one from image to text; two workers for the first."""
    types = [("summarise", TEXT, TEXT), ("translate", TEXT, TEXT), ("blur", IMAGE, IMAGE), ("crop", IMAGE, IMAGE)]
    types.append(("caption", IMAGE, TEXT))
    return Catalog(
        name="tiny",
        task_types=tuple(TaskType(id=n, description=f"{n} it", inputs=(i,), outputs=(o,)) for n, i, o in types),
        workers=(
            WorkerSpec(id="fast", task_types=("summarise", "blur"), cost=1, latency=1, quality=0.5),
            WorkerSpec(id="good", task_types=("summarise",), cost=4, latency=2, quality=1.0),
            WorkerSpec(id="rest", task_types=("translate", "crop", "caption")),
        ),
        links=(Link(source="caption", target="translate"),),
    )


@pytest.fixture(scope="session")
def tokenizer(catalog):
    """A tokenizer of a handful of words."""
    return train_tokenizer([t.text for t in catalog.task_types] + ["then the text of an image and translate"], 200)


@pytest.fixture(scope="session")
def tiny(catalog, tokenizer):
    """(spec, graphdef, parameters, arrays, vectors, statistics) of an untrained planner."""
    encoder = TextEncoderConfig(tokenizer.vocab_size, 16, 1, 2, 16, max_positions=64)
    spec = ModelSpec(encoder, tiny_config(), len(catalog.task_types), len(catalog.workers), pretrained=False)
    graphdef, parameters = split_parameters(build_model(spec, 0))
    statistics = PlanStatistics.of([], catalog)
    vectors = catalog_vectors(graphdef, parameters, tokenizer, catalog)
    return spec, graphdef, parameters, build_catalog_arrays(catalog, vectors, statistics), vectors, statistics


@pytest.fixture(scope="session")
def planner(tiny, catalog, tokenizer):
    """An untrained Planner: its plans mean nothing and are valid all the same."""
    spec, _, parameters, _, vectors, statistics = tiny
    return Planner(spec, parameters, tokenizer, catalog, statistics, np.asarray(vectors), Preference())
