"""Training with a task-type graph: the planner that is opened plans as it was validated."""

import jax
import numpy as np
import pytest
from toy_planner import toy_config

from orchestai_jax.config import TaskTypeGraphConfig
from orchestai_jax.evaluation import evaluate_planner
from orchestai_jax.planner import Planner
from orchestai_jax.training import METRICS_FILE, read_metrics
from orchestai_jax.training.monitoring import SilentMonitor
from orchestai_jax.training.starting_planner import StartingPlanner
from orchestai_jax.training.supervised import train_planner
from orchestai_jax.training.training_samples import load_training_samples

OUT = "task_type_graph.out.kernel"


def with_graph(config, layer):
    planner = config.planner.model_copy(update={"task_type_graph": TaskTypeGraphConfig(layer=layer)})
    return config.model_copy(update={"planner": planner})


def test_the_planner_plans_as_it_was_validated(files, tmp_path):
    """In training types are refined in the network, in planning where the catalog is bound."""
    config = with_graph(toy_config(files, num_epochs=2), "sage")
    train_planner(config, tmp_path / "run", monitor=SilentMonitor())
    validated = [
        line["values"] for line in read_metrics(tmp_path / "run" / METRICS_FILE) if line["split"] == "validation"
    ]
    planner = Planner.from_checkpoint(tmp_path / "run")
    scores = evaluate_planner(planner, load_training_samples(config).validation).scores
    best = max(validated, key=lambda values: values["score"])
    assert scores.means["node_f1"] == pytest.approx(best["node_f1"], abs=1e-6)
    assert scores.means["link_f1"] == pytest.approx(best["link_f1"], abs=1e-6)
    assert planner.spec.planner.task_type_graph.layer == "sage"
    rows = planner._bound_to(planner.catalog).whole.arrays.embedded
    planner._parameters = {**planner._parameters, OUT: jax.numpy.zeros((16, 16))}
    planner._bound = {}
    assert np.abs(planner._bound_to(planner.catalog).whole.arrays.embedded - rows).max() > 0.01

    go_on = toy_config(files, initialize_from=str(tmp_path / "run")).model_copy(
        update={"planner": type(config.planner)()}
    )
    start = StartingPlanner.of(go_on)
    assert start is not None
    assert start.settled(go_on).planner.task_type_graph == config.planner.task_type_graph
    start.check(planner.spec)
