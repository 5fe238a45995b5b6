"""The supervised loss: each weight acts, padding does not, the penalty is zero exactly on DAGs."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from orchestai_jax.config import Phase1Config
from orchestai_jax.planner.graph_generator import acyclicity_penalty
from orchestai_jax.planner.loss import PlanningBatch, drop_tokens, planning_loss
from orchestai_jax.planner.model import build_structure, merge_parameters


@pytest.fixture(scope="module")
def batch():
    random = np.random.default_rng(0)
    return PlanningBatch(
        tokens=jnp.asarray(random.integers(5, 60, (3, 16))),
        mask=jnp.ones((3, 16), bool),
        chosen=jnp.array([[0, 1, 5], [2, 5, 5], [2, 4, 1]]),
        edges=jnp.zeros((3, 3, 3)).at[0, 0, 1].set(1).at[2, 0, 1].set(1).at[2, 1, 2].set(1),
        workers=jnp.array([[1, 2, -1], [0, -1, -1], [0, 2, 2]]),
        complexity=jnp.array([[0.2, 0.9, -1], [0.5, -1, -1], [-1.0, -1, -1]]),
        preference=jnp.tile(jnp.array([1, 0.25, 0.25]), (3, 1)),
        stated_preference=jnp.array([[1, 0.25, 0.25], [1, 0, 0.02], [0.3, 0.1, 1]]),
        is_silent=jnp.array([True, True, False]),
        weights=jnp.ones(3),
        step_tokens=jnp.asarray(random.integers(5, 60, (2, 8))),
        step_mask=jnp.ones((2, 8), bool),
        step_task_types=jnp.array([3, 4]),
    )


@functools.partial(jax.jit, static_argnums=(0, 4))
def _loss(graphdef, parameters, arrays, batch, config):
    return planning_loss(merge_parameters(graphdef, parameters), arrays, batch, config, None)


PARTS = {
    "label_loss": "label_loss_weight",
    "decision_loss": "decomposer_loss_weight",
    "edge_loss": "edge_loss_weight",
    "cycle_penalty": "lambda_dag",
    "worker_loss": "worker_loss_weight",
    "preference_loss": "preference_loss_weight",
    "complexity_loss": "complexity_loss_weight",
    "step_text_loss": "step_text_loss_weight",
}
CONFIG = Phase1Config.model_validate({weight: 2.0**i for i, weight in enumerate(PARTS.values())})
"""Every weight is another one, so that none can stand in for another."""


def test_the_loss_is_the_weighted_sum_of_its_parts(tiny, batch):
    _, graphdef, parameters, arrays, *_ = tiny
    loss, parts = _loss(graphdef, parameters, arrays, batch, CONFIG)
    assert all(float(parts[part]) > 0 for part in PARTS)
    wanted = sum(getattr(CONFIG, weight) * float(parts[part]) for part, weight in PARTS.items())
    np.testing.assert_allclose(loss, wanted, rtol=1e-6)


def test_a_row_of_weight_zero_counts_for_nothing(tiny, batch):
    _, graphdef, parameters, arrays, *_ = tiny
    weights = jnp.array([1.0, 1.0, 0.0])
    other = batch.replace(chosen=batch.chosen.at[2].set(jnp.array([3, 0, 5])), workers=batch.workers.at[2].set(-1))
    results = [_loss(graphdef, parameters, arrays, b.replace(weights=weights), CONFIG)[1] for b in (batch, other)]
    for name in results[0]:
        np.testing.assert_allclose(results[0][name], results[1][name], rtol=1e-5, err_msg=name)


def test_untrained_decisions_cost_the_logarithm_of_the_choices(tiny, batch):
    """With every scale at zero all allowed choices are equally likely: log of their number."""
    _, graphdef, parameters, arrays, *_ = tiny
    flat = {k: jnp.zeros_like(v) if k.endswith(("scale", "_weight", "bias")) else v for k, v in parameters.items()}
    _, parts = _loss(graphdef, flat, arrays, batch, CONFIG)
    choices = [6, 5, 4, 6, 5, 6, 5, 4, 3]  # 5 types and stop, less those used, at each decision of the three plans
    np.testing.assert_allclose(parts["decision_loss"], np.mean(np.log(choices)), rtol=1e-5)


def test_only_silent_rows_teach_what_is_heard(tiny, batch):
    """With nothing heard yet the error is the mean squared log ratio of the weights, over silent rows alone."""
    _, graphdef, parameters, arrays, *_ = tiny
    _, parts = _loss(graphdef, parameters, arrays, batch, CONFIG)
    second = np.mean(np.square([0.0, np.log(0.02 / 0.25), np.log(0.02 / 0.25)]))
    np.testing.assert_allclose(parts["preference_loss"], second / 2, rtol=1e-5)


def test_a_gold_plan_that_repeats_a_type_stays_finite(tiny, batch):
    _, graphdef, parameters, arrays, *_ = tiny
    repeated = batch.replace(
        chosen=batch.chosen.at[0].set(jnp.array([0, 0, 1])), workers=batch.workers.at[0].set(jnp.array([1, 1, 2]))
    )
    loss, _ = _loss(graphdef, parameters, arrays, repeated, CONFIG)
    assert float(loss) < 1e3


def test_token_dropout_hides_its_share_and_never_the_first_token_or_padding_shown():
    mask = jnp.arange(400)[None] < jnp.array([[400], [1], [300]])
    kept = np.asarray(drop_tokens(mask, 0.25, jax.random.key(0)))
    assert kept[:, 0].all()
    assert not (kept & ~np.asarray(mask)).any()
    np.testing.assert_allclose(kept[[0, 2]].sum() / 700, 0.75, atol=0.06)


def test_token_dropout_acts_in_training_alone(tiny, batch):
    """With every other dropout off, two keys give two losses, and no key gives the loss of all tokens."""
    spec, _, parameters, arrays, *_ = tiny
    encoder = spec.planner.encoder.model_copy(update={"token_dropout": 0.5})
    decomposer = spec.planner.decomposer.model_copy(update={"dropout": 0.0, "free_embedding_dropout": 0.0})
    planner = spec.planner.model_copy(update={"encoder": encoder, "decomposer": decomposer})
    graphdef, _ = build_structure(dataclasses.replace(spec, planner=planner))

    @jax.jit
    def trained(key):
        model = merge_parameters(graphdef, parameters)
        return planning_loss(model, arrays, batch, CONFIG, nnx.Rngs(dropout=key))[1]["decision_loss"]

    losses = {float(trained(jax.random.key(seed))) for seed in (1, 2)}
    losses.add(float(_loss(graphdef, parameters, arrays, batch, CONFIG)[1]["decision_loss"]))
    assert len(losses) == 3
    everything = _loss(tiny[1], parameters, arrays, batch, CONFIG)[1]["decision_loss"]
    assert float(everything) in losses


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_penalty_is_zero_exactly_on_dags(n):
    random = np.random.default_rng(n)
    order = random.permutation(n)
    dag = np.triu(random.uniform(0.5, 1, (n, n)), 1)[order][:, order]
    mask = jnp.ones((1, n), bool)
    np.testing.assert_allclose(acyclicity_penalty(jnp.asarray(dag)[None], mask), 0, atol=1e-5)
    if n > 1:
        ring = np.roll(np.eye(n), 1, axis=1) * 0.9
        assert float(acyclicity_penalty(jnp.asarray(ring)[None], mask)[0]) > 1e-4
        assert float(acyclicity_penalty(jnp.asarray(ring)[None], mask.at[0, 0].set(False))[0]) == pytest.approx(
            0, abs=1e-5
        )
