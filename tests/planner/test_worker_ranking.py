"""The order of workers that a plan hands to the engine."""

import numpy as np

from orchestai_jax.config import PlannerConfig, Preference
from orchestai_jax.planner.plan_to_workflow import pick_worker, rank_workers
from orchestai_jax.workflow import Catalog, TaskType, WorkerSpec

CATALOG = Catalog(
    task_types=(TaskType(id="x"), TaskType(id="nobody")),
    workers=(
        WorkerSpec(id="slow", task_types=("x",), quality=0.9, latency=10.0, cost=0.0),
        WorkerSpec(id="fast", task_types=("x",), quality=0.8, latency=1.0, cost=0.0),
        WorkerSpec(id="dear", task_types=("x",), quality=0.9, latency=10.0, cost=1.0),
    ),
)


def ranked(logp, enabled, preference="balanced", task_type="x"):
    config = PlannerConfig.model_validate({"worker_selector": {"enabled": enabled}})
    arguments = (np.array(logp), task_type, CATALOG, config, Preference.PRESETS[preference])
    order = rank_workers(*arguments)
    assert pick_worker(*arguments) == (order[0] if order else None)
    return order


def test_by_the_learned_probabilities_padding_left_aside():
    assert ranked([-3.0, -1.0, -2.0, 0.0], enabled=True) == ["fast", "dear", "slow"]
    assert ranked([-1.0, -1.0, -1.0], enabled=True) == ["slow", "fast", "dear"]  # the catalog's order among equals


def test_by_the_declared_figures_under_the_preference():
    assert ranked([0.0] * 3, enabled=False, preference="fast") == ["fast", "slow", "dear"]
    assert ranked([0.0] * 3, enabled=False, preference="quality")[0] == "slow"


def test_nobody_can():
    assert ranked([0.0], enabled=True, task_type="nobody") == []
    assert ranked([0.0], enabled=False, task_type="nobody") == []
