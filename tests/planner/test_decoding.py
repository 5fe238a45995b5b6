"""Decoding against exhaustive search, and its promise that every plan validates."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from orchestai_jax.config import DecodingConfig
from orchestai_jax.planner.bound_catalog import bind
from orchestai_jax.planner.decoding import NO_PLAN, decode, decode_given, decode_ranked, pick_plan
from orchestai_jax.planner.model import build_model, merge_parameters, split_parameters
from orchestai_jax.planner.plan_agreement import agreement

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
    decoding = DecodingConfig(method="beam", beam_size=beams)
    return decode(model, arrays, model.lower(ids, mask), mask, jnp.asarray(WEIGHTS), decoding)


@functools.partial(jax.jit, static_argnums=(0, 5))
def _decode_ranked(graphdef, parameters, arrays, ids, mask, beams):
    model = merge_parameters(graphdef, parameters)
    return decode_ranked(model, arrays, model.lower(ids, mask), mask, jnp.asarray(WEIGHTS), beams)


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
    return model.decomposer.logits(arrays, encoded.directions, *flat).reshape(plans, steps, -1)


def _exhaustive(graphdef, parameters, arrays, ids, mask, size, max_tasks):
    """All plans of one instruction and their log-probabilities, the most probable first."""
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
    order = np.argsort(-totals)
    return [plans[i] for i in order], totals[order]


def test_a_wide_beam_finds_what_exhaustive_search_finds(tiny, shaken, inputs):
    spec, graphdef, _, arrays, *_ = tiny
    decoded = _decode(graphdef, shaken, arrays, *inputs, 64)
    for row in range(2):
        one = tuple(x[row : row + 1] for x in inputs)
        plans, logp = _exhaustive(graphdef, shaken, arrays, *one, 5, spec.planner.decomposer.max_tasks)
        chosen = [int(t) for t in decoded.chosen[row] if t < 5]
        assert chosen == list(plans[0])
        np.testing.assert_allclose(decoded.plan_logp[row], logp[0], atol=1e-4)


def test_ranked_plans_are_all_that_exhaustive_search_finds_in_its_order(tiny, shaken, inputs):
    spec, graphdef, _, arrays, *_ = tiny
    ranked = _decode_ranked(graphdef, shaken, arrays, *inputs, 100)
    one = tuple(x[1:2] for x in inputs)
    plans, logp = _exhaustive(graphdef, shaken, arrays, *one, 5, spec.planner.decomposer.max_tasks)
    assert len(plans) == 85  # of five types, none twice, one to three
    mine = slice(100, 200)  # the second of four instructions
    found = ranked.plan_logp[mine] > NO_PLAN
    assert found.tolist() == [True] * 85 + [False] * 15
    np.testing.assert_allclose(ranked.plan_logp[mine][:85], logp, atol=1e-4)
    assert {tuple(int(t) for t in row if t < 5) for row in ranked.chosen[mine][:85]} == set(plans)
    decoded = _decode(graphdef, shaken, arrays, *inputs, 64)
    for name in ("chosen", "edge_probabilities", "worker_logp", "complexity"):  # of the best one, completed alike
        np.testing.assert_allclose(getattr(ranked, name)[::100], getattr(decoded, name), atol=1e-5)


@pytest.mark.parametrize("changes, has", [({"glimpse": True}, "glimpse.weight"), ({"kind": "lstm"}, "block.cell")])
def test_every_decoder_steps_as_it_is_taught(tiny, inputs, changes, has):
    """Its step by step search against the probabilities of teacher forcing."""
    config = tiny[0].planner.decomposer.model_copy(update=changes)
    planner = tiny[0].planner.model_copy(update={"decomposer": config})
    spec = dataclasses.replace(tiny[0], planner=planner)
    graphdef, parameters = split_parameters(build_model(spec, 3))
    keys = iter(jax.random.split(jax.random.key(8), len(parameters)))
    parameters = {k: v + 0.3 * jax.random.normal(next(keys), v.shape) for k, v in parameters.items()}
    decoded = _decode(graphdef, parameters, tiny[3], *inputs, 64)
    one = tuple(x[1:2] for x in inputs)  # the one with padding, which must not be looked at
    plans, logp = _exhaustive(graphdef, parameters, tiny[3], *one, 5, config.max_tasks)
    assert [int(t) for t in decoded.chosen[1] if t < 5] == list(plans[0])
    np.testing.assert_allclose(decoded.plan_logp[1], logp[0], atol=1e-4)
    part = [k for k in parameters if k.startswith(f"decomposer.{has}")]
    assert part
    without = {k: v * (k not in part) for k, v in parameters.items()}
    assert abs(_decode(graphdef, without, tiny[3], *inputs, 64).plan_logp[1] - decoded.plan_logp[1]) > 1e-3


def test_what_is_made_once_a_catalog_is_what_the_network_makes(tiny, shaken, catalog):
    spec, graphdef, _, _, vectors, statistics = tiny
    view = bind(spec, lambda: graphdef, shaken, catalog, np.asarray(vectors), statistics).whole
    assert view is not None
    model = merge_parameters(graphdef, shaken)
    embedded = model.task_types(view.arrays.descriptions, view.arrays.known)
    np.testing.assert_allclose(view.arrays.embedded, embedded, atol=1e-5)
    np.testing.assert_allclose(view.arrays.projected, model.decomposer.project(embedded), atol=1e-5)
    chosen = jnp.arange(6)[None]  # the last one is the start
    read = model.decomposer.inputs(embedded, chosen, view.arrays.projected)
    np.testing.assert_allclose(read, model.decomposer.inputs(embedded, chosen), atol=1e-5)


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
            able = catalog.workers_for(catalog.task_types[int(t)].id)
            probabilities = np.exp(decoded.worker_logp[row, j])
            assert len(np.flatnonzero(probabilities > 0)) == len(able)
            np.testing.assert_allclose(probabilities.sum(), 1, atol=1e-5)


def test_support_is_the_probability_of_all_the_plans_with_a_task_or_with_the_same_tasks(tiny, shaken, inputs):
    """A beam of 64 of the 85 plans of at most 3 of 5 types, against the sums over all of them."""
    spec, graphdef, _, arrays, *_ = tiny
    decoded = _decode(graphdef, shaken, arrays, *inputs, 64)
    one = tuple(x[:1] for x in inputs)
    plans, totals = _exhaustive(graphdef, shaken, arrays, *one, 5, spec.planner.decomposer.max_tasks)
    chosen = [int(t) for t in decoded.chosen[0] if t < 5]
    same = sum(np.exp(total) for plan, total in zip(plans, totals, strict=True) if set(plan) == set(chosen))
    np.testing.assert_allclose(decoded.plan_support[0], same, rtol=0.02)
    assert same > np.exp(decoded.plan_logp[0]) * (1 + 1e-6) or len(chosen) == 1
    for j, t in enumerate(chosen):
        holding = sum(np.exp(total) for plan, total in zip(plans, totals, strict=True) if t in plan)
        np.testing.assert_allclose(decoded.task_support[0, j], holding, rtol=0.02)


def _agreement_of_sets(first, second):
    """The mean of two F1s, by Python's sets."""

    def f1(a, b):
        return 2 * len(a & b) / (len(a) + len(b)) if a or b else 1.0

    return (f1({*first}, {*second}) + f1({*itertools.pairwise(first)}, {*itertools.pairwise(second)})) / 2


def _random_plans(random, repeats):
    plans = []
    for n in random.integers(1, 5, 6):
        plans.append([int(t) for t in (random.integers(0, 7, n) if repeats else random.permutation(7)[:n])])
    return plans, np.array([[p + [7] * (4 - len(p)) for p in plans]])


@pytest.mark.parametrize("repeats", [False, True])
def test_agreement_of_plans_equals_that_of_sets(repeats):
    random = np.random.default_rng(3)
    for _ in range(20):
        plans, padded = _random_plans(random, repeats)
        wanted = [[_agreement_of_sets(a, b) for b in plans] for a in plans]
        np.testing.assert_allclose(agreement(jnp.asarray(padded), jnp.asarray(padded), 7)[0], wanted, atol=1e-6)


def test_minimum_bayes_risk_picks_the_plan_that_most_of_the_probability_agrees_with():
    # The most probable plan stands alone; three others share most of theirs. The last place of the beam was never
    # filled: it repeats a plan and must not be picked for that.
    plans = jnp.array([[[5, 6, 7], [0, 1, 2], [0, 1, 3], [0, 1, 7], [0, 1, 7]]])
    logp = jnp.log(jnp.array([[0.31, 0.23, 0.23, 0.23, 1.0]])).at[0, 4].set(jnp.finfo(jnp.float32).min)
    picked = {m: int(pick_plan(plans, logp, 7, DecodingConfig(method=m))[0]) for m in ("beam", "mbr")}
    posterior = [0.31, 0.23, 0.23, 0.23]
    sets = [[5, 6], [0, 1, 2], [0, 1, 3], [0, 1]]
    risk = [sum(p * _agreement_of_sets(a, b) for p, b in zip(posterior, sets, strict=True)) for a in sets]
    assert picked == {"beam": 0, "mbr": int(np.argmax(risk))}
    sure = DecodingConfig(method="mbr", mbr_temperature=0.01)
    assert int(pick_plan(plans, logp, 7, sure)[0]) == 0
