"""Decoding against exhaustive search, and its promise that every plan validates."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from orchestai_jax.planner.decoding import decode, decode_given
from orchestai_jax.planner.model import merge_parameters

WEIGHTS = np.tile(np.array([1, 0.25, 0.25], np.float32), (4, 1))


@pytest.fixture(scope="module")
def inputs():
    random = np.random.default_rng(0)
    mask = np.ones((4, 16), bool)
    mask[1, 5:] = False
    return random.integers(5, 60, (4, 16)), mask


@pytest.fixture(scope="module")
def shaken(tiny):
    """Parameters moved at random, so that choices are neither uniform nor certain."""
    keys = iter(jax.random.split(jax.random.key(7), len(tiny[2])))
    return {k: v + 0.3 * jax.random.normal(next(keys), v.shape) for k, v in tiny[2].items()}


@functools.partial(jax.jit, static_argnums=(0, 5))
def _decode(graphdef, parameters, arrays, ids, mask, beams):
    model = merge_parameters(graphdef, parameters)
    return decode(model, arrays, model.lower(ids, mask), mask, jnp.asarray(WEIGHTS), beam_size=beams)


@functools.partial(jax.jit, static_argnums=0)
def _decode_given(graphdef, parameters, arrays, ids, mask, chosen):
    model = merge_parameters(graphdef, parameters)
    return decode_given(model, arrays, model.lower(ids, mask), mask, jnp.asarray(WEIGHTS), chosen)


@functools.partial(jax.jit, static_argnums=0)
def _all_logits(graphdef, parameters, arrays, ids, mask, padded):
    """Logits of every decision of every plan, by teacher forcing: [plans, steps, T + 1]."""
    model = merge_parameters(graphdef, parameters)
    encoded = model.encode(arrays, model.lower(ids, mask), mask)
    plans, steps = padded.shape
    many = [jnp.repeat(x, plans, 0) for x in (encoded.hidden, encoded.mask)]
    states = model.decomposer.states(encoded.task_types, padded, *many)
    labels = jnp.repeat(encoded.labels, plans * steps, 0)
    flat = states.reshape(plans * steps, -1), padded.reshape(-1), labels
    return model.decomposer.logits(arrays, encoded.task_types, *flat).reshape(plans, steps, -1)


def _exhaustive(graphdef, parameters, arrays, ids, mask, size, max_tasks):
    """The most probable plan of one instruction among all there are, and its log-probability."""
    plans = [p for n in range(1, max_tasks + 1) for p in itertools.permutations(range(size), n)]
    padded = np.array([[size, *p] + [size] * (max_tasks - len(p)) for p in plans])
    logits = np.asarray(_all_logits(graphdef, parameters, arrays, ids, mask, padded), np.float64)
    totals = np.zeros(len(plans))
    for i, plan in enumerate(plans):
        for step, choice in enumerate((*plan, size)):
            allowed = np.ones(size + 1, bool)
            allowed[list(plan[:step])] = False
            allowed[size] = step > 0
            if step == max_tasks:
                allowed[:size] = False
            totals[i] += logits[i, step, choice] - np.log(np.exp(logits[i, step, allowed]).sum())
    best = int(np.argmax(totals))
    return plans[best], totals[best]


def test_a_wide_beam_finds_what_exhaustive_search_finds(tiny, shaken, inputs):
    spec, graphdef, _, arrays, *_ = tiny
    decoded = _decode(graphdef, shaken, arrays, *inputs, 64)
    for row in range(2):
        one = tuple(x[row : row + 1] for x in inputs)
        plan, logp = _exhaustive(graphdef, shaken, arrays, *one, 5, spec.planner.decomposer.max_tasks)
        chosen = [int(t) for t in decoded.chosen[row] if t < 5]
        assert chosen == list(plan)
        np.testing.assert_allclose(decoded.plan_logp[row], logp, atol=1e-4)


def test_beam_is_never_less_probable_than_greedy(tiny, shaken, inputs):
    _, graphdef, _, arrays, *_ = tiny
    greedy, beam = (_decode(graphdef, shaken, arrays, *inputs, k) for k in (1, 64))
    assert np.all(beam.plan_logp >= greedy.plan_logp - 1e-5)


def test_padding_changes_nothing(tiny, shaken, inputs):
    _, graphdef, _, arrays, *_ = tiny
    ids, mask = inputs
    other = np.where(mask, ids, 7)
    first, second = (_decode(graphdef, shaken, arrays, x, mask, 1) for x in (ids, other))
    np.testing.assert_array_equal(first.chosen, second.chosen)
    np.testing.assert_allclose(first.plan_logp, second.plan_logp, atol=1e-5)


def test_edges_go_forward_between_types_that_fit_and_no_type_comes_twice(tiny, shaken, inputs, catalog):
    _, graphdef, _, arrays, *_ = tiny
    decoded = _decode(graphdef, shaken, arrays, *inputs, 1)
    for row in range(4):
        chosen = [int(t) for t in decoded.chosen[row] if t < 5]
        assert len(chosen) == len(set(chosen)) > 0
        for s, t in zip(*np.nonzero(decoded.edge_probabilities[row]), strict=True):
            assert s < t < len(chosen)
            assert catalog.fits(catalog.task_types[chosen[s]].id, catalog.task_types[chosen[t]].id)


def test_given_tasks_keep_their_order_and_get_the_decoders_edges(tiny, shaken, inputs):
    _, graphdef, _, arrays, *_ = tiny
    ids, mask = inputs
    decoded = _decode(graphdef, shaken, arrays, ids, mask, 1)
    given = _decode_given(graphdef, shaken, arrays, ids, mask, decoded.chosen)
    np.testing.assert_array_equal(given.chosen, decoded.chosen)
    np.testing.assert_allclose(given.edge_probabilities, decoded.edge_probabilities, atol=1e-5)
    np.testing.assert_allclose(given.worker_logp, decoded.worker_logp, atol=1e-4)


def test_only_workers_that_can_do_a_task_have_probability(tiny, shaken, inputs, catalog):
    _, graphdef, _, arrays, *_ = tiny
    decoded = _decode(graphdef, shaken, arrays, *inputs, 1)
    for row in range(4):
        for j, t in enumerate(t for t in decoded.chosen[row] if t < 5):
            able = {w.id for w in catalog.workers_for(catalog.task_types[int(t)].id)}
            probabilities = np.exp(decoded.worker_logp[row, j])
            assert {catalog.workers[i].id for i in np.flatnonzero(probabilities > 0)} <= able
            np.testing.assert_allclose(probabilities.sum(), 1, atol=1e-5)
