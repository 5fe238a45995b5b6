"""The worker selector: declared figures at first, then what the words say; padding says nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from orchestai_jax.planner.worker_selector import PreferenceListener, WorkerSelector

WEIGHTS = np.array([1.0, 0.4, 0.2], np.float32)


@pytest.fixture(scope="module")
def listener():
    """A listener as training leaves it: nothing of it is zero."""
    made = PreferenceListener(8, 4, rngs=nnx.Rngs(0))
    made.moved[...] = jax.random.normal(jax.random.key(1), (3, 4))
    made.bias[...] = jnp.array([0.1, -0.2, 0.3])
    return made


def test_untrained_workers_are_chosen_by_their_declared_figures(tiny):
    arrays = tiny[3]
    selector = WorkerSelector(6, 8, arrays.workers.shape[1], arrays.workers.shape[0], 4, rngs=nnx.Rngs(0))
    chosen = jnp.array([[0, 2]])  # the first type has two workers, the third only one that can do it
    states = jax.random.normal(jax.random.key(0), (1, 2, 6))
    heard = selector.listener(jax.random.normal(jax.random.key(1), (1, 5, 8)), jnp.ones((1, 5), bool))
    np.testing.assert_array_equal(heard, np.zeros((1, 3)))
    logp, _ = selector(arrays, states, heard, chosen, jnp.asarray(WEIGHTS)[None])
    for j, task_type in enumerate((0, 2)):
        quality, cost, latency = np.asarray(arrays.worker_features[task_type], np.float64).T
        utility = 10 * (WEIGHTS[0] * quality - WEIGHTS[1] * cost - WEIGHTS[2] * latency)
        able = np.asarray(arrays.able[task_type]) < len(arrays.workers)
        wanted = np.where(able, np.exp(utility), 0)
        np.testing.assert_allclose(np.exp(logp[0, j]), wanted / wanted.sum(), rtol=1e-5)


def test_what_is_heard_changes_the_weights_it_names(tiny):
    arrays = tiny[3]
    selector = WorkerSelector(6, 8, arrays.workers.shape[1], arrays.workers.shape[0], 4, rngs=nnx.Rngs(0))
    states, chosen = jnp.zeros((1, 1, 6)), jnp.array([[0]])
    even = jnp.ones((1, 3))

    def first_worker(preference, heard):
        return float(jnp.exp(selector(arrays, states, jnp.array([heard]), chosen, preference)[0][0, 0, 0]))

    # "cost matters twice as much" said in words is the same as a preference that says so
    np.testing.assert_allclose(
        first_worker(even, [0.0, np.log(2.0), 0.0]),
        first_worker(even * jnp.array([1.0, 2.0, 1.0]), [0.0] * 3),
        rtol=1e-5,
    )
    assert first_worker(even, [0.0, 1.0, 0.0]) > first_worker(even, [0.0, 0.0, 0.0])  # the first is the cheap one


def test_padding_says_nothing(listener):
    tokens = jax.random.normal(jax.random.key(2), (2, 6, 8))
    mask = jnp.arange(6)[None] < jnp.array([[6], [3]])
    noise = jnp.where(mask[..., None], tokens, 100.0)
    np.testing.assert_allclose(listener(tokens, mask), listener(noise, mask), rtol=1e-6)
    np.testing.assert_allclose(listener(tokens, mask)[1:], listener(tokens[1:, :3], mask[1:, :3]), rtol=1e-5)


def test_each_weight_attends_for_itself(listener):
    tokens, mask = jax.random.normal(jax.random.key(3), (1, 5, 8)), jnp.ones((1, 5), bool)
    keys = np.asarray(tokens[0] @ listener.key.kernel[...] + listener.key.bias[...], np.float64)
    values = np.asarray(jax.nn.gelu(tokens[0] @ listener.value.kernel[...] + listener.value.bias[...]), np.float64)
    for k in range(3):
        scores = np.exp(keys @ np.asarray(listener.query[...], np.float64)[k] / 2)
        attended = (scores / scores.sum()) @ values
        wanted = attended @ np.asarray(listener.moved[...], np.float64)[k] + float(listener.bias[...][k])
        np.testing.assert_allclose(listener(tokens, mask)[0, k], wanted, rtol=1e-5)
