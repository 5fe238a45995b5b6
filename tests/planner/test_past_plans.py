"""Past plans: how those of like instructions vote, over which catalogs, and how they lie in a checkpoint."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from orchestai_jax.checkpoint import CheckpointError
from orchestai_jax.config import DecodingConfig
from orchestai_jax.data import PlanningSample
from orchestai_jax.planner.decoding import pick_plan
from orchestai_jax.planner.past_plans import PlanMemory, instruction_vectors, saved_past, votes
from orchestai_jax.planner.plan_agreement import agreement

VOTING = DecodingConfig(method="mbr", neighbours=3, neighbour_temperature=0.1)
TYPES = {"a": 0, "b": 1, "c": 2, "d": 3}


def unit_rows(random, n, width=6):
    x = random.normal(size=(n, width))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def of_sets(first, second):
    def f1(a, b):
        return 2 * len(a & b) / (len(a) + len(b)) if a or b else 1.0

    return (f1({*first}, {*second}) + f1({*itertools.pairwise(first)}, {*itertools.pairwise(second)})) / 2


def padded(plans, size, width=3):
    return np.array([[*p, *[size] * (width - len(p))] for p in plans], np.int32)


def test_agreement_of_two_lists_of_plans_equals_that_of_sets():
    plans, others = [[0, 1, 2], [3], [2, 0]], [[0, 1], [1, 0, 2], [3, 3], [2]]
    found = agreement(jnp.asarray(padded(plans, 4))[None], jnp.asarray(padded(others, 4))[None], 4)[0]
    np.testing.assert_allclose(found, [[of_sets(p, o) for o in others] for p in plans], atol=1e-6)


def test_the_nearest_instructions_vote_by_their_cosines():
    random = np.random.default_rng(0)
    known, asked = unit_rows(random, 7), unit_rows(random, 2)
    plans = [("a",), ("a", "b"), ("c", "a"), ("d",), ("b", "c", "d"), ("c",), ("b",)]
    past = PlanMemory(tuple("1234567"), tuple(plans)).over(TYPES, known, 3)
    chosen = [[[0, 1, 2], [3], [2, 0]], [[1, 2], [0], [2]]]
    found = votes(past, jnp.asarray(asked), jnp.asarray([padded(c, 4) for c in chosen]), 4, VOTING)
    for row, own in enumerate(chosen):
        cosines = known @ asked[row]
        nearest = np.argsort(-cosines)[:3]
        weights = np.exp(cosines[nearest] / 0.1) / np.exp(cosines[nearest] / 0.1).sum()
        asked_for = [[TYPES[t] for t in plans[n]] for n in nearest]
        wanted = [sum(w * of_sets(c, p) for w, p in zip(weights, asked_for, strict=True)) for c in own]
        np.testing.assert_allclose(found[row], wanted, atol=1e-5)


def test_plans_that_the_catalog_cannot_say_and_instructions_without_a_vector_do_not_vote():
    random = np.random.default_rng(1)
    known, asked = unit_rows(random, 4), jnp.asarray(unit_rows(random, 1))
    memory = PlanMemory(tuple("1234"), (("a",), ("gone",), ("a", "b", "c", "d"), ("b",)))
    known[3] = 0
    past = memory.over(TYPES, known, 3)
    assert past.usable.tolist() == [True, False, False, False]
    chosen = jnp.asarray([padded([[0], [1]], 4)])
    np.testing.assert_allclose(votes(past, asked, chosen, 4, VOTING), [[1.0, 0.5]], atol=1e-6)  # neither has pairs
    nobody = memory.over({"x": 0}, known, 3)
    np.testing.assert_array_equal(votes(nobody, asked, chosen, 4, VOTING), [[0.0, 0.0]])


def test_fewer_instructions_than_are_asked_for_all_vote():
    past = PlanMemory(("1",), (("b",),)).over(TYPES, unit_rows(np.random.default_rng(2), 1), 3)
    chosen = jnp.asarray([padded([[0], [1]], 4)])
    found = votes(past, jnp.asarray(unit_rows(np.random.default_rng(3), 1)), chosen, 4, VOTING)
    np.testing.assert_allclose(found, [[0.5, 1.0]], atol=1e-6)


def test_an_instructions_cosines_are_the_mean_of_those_of_its_two_readings():
    random = np.random.default_rng(4)
    lower, hidden = (jnp.asarray(random.normal(size=(2, 5, 8)), jnp.float32) for _ in range(2))
    mask = jnp.asarray([[True] * 5, [True] * 3 + [False] * 2])
    vectors = np.asarray(instruction_vectors(lower, hidden, mask))
    means = [[np.asarray(x[0]).mean(0), np.asarray(x[1, :3]).mean(0)] for x in (lower, hidden)]
    cosines = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in means]
    np.testing.assert_allclose(vectors[0] @ vectors[1], np.mean(cosines), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_votes_move_the_choice_by_their_weight():
    plans = jnp.asarray([padded([[0, 1], [2], [3]], 4)])
    logp = jnp.log(jnp.array([[0.5, 0.3, 0.2]]))
    for_the_second = jnp.array([[0.0, 1.0, 0.0]])
    picked = {
        weight: int(
            pick_plan(plans, logp, 4, VOTING.model_copy(update={"neighbour_weight": weight}), for_the_second)[0]
        )
        for weight in (0.0, 0.1, 0.4)
    }
    assert picked == {0.0: 0, 0.1: 0, 0.4: 1}  # the first leads by .2


def test_a_checkpoint_keeps_them_and_one_that_is_damaged_is_named():
    samples = [PlanningSample("1", "x", ("a", "b"), ((0, 1),)), PlanningSample("é", "y", ("c",), ())]
    memory = PlanMemory.of(samples)
    vectors = unit_rows(np.random.default_rng(5), 2).astype(np.float16)
    kept, read = saved_past({"past": {"vectors": vectors}}, memory.to_assets(), 6, "run")
    assert kept == memory
    np.testing.assert_array_equal(read, vectors.astype(np.float32))
    assert saved_past({}, {}, 6, "run") is None
    for assets in ({}, {"past_plans.json": "["}, {"past_plans.json": "[]"}, {"past_plans.json": '{"ids": ["1"]}'}):
        with pytest.raises(CheckpointError, match="run: cannot read the past plans"):
            saved_past({"past": {"vectors": vectors}}, assets, 6, "run")
    with pytest.raises(CheckpointError, match=r"vectors are \[2, 6\], the encoder makes \[2, 8\]"):
        saved_past({"past": {"vectors": vectors}}, memory.to_assets(), 8, "run")
    with pytest.raises(CheckpointError, match="a plan for each of 1 vectors"):
        saved_past({"past": {"vectors": vectors[:1]}}, memory.to_assets(), 6, "run")


def test_neighbours_are_refused_where_one_plan_is_found():
    with pytest.raises(ValueError, match="with method greedy set neighbours to 0"):
        DecodingConfig(neighbours=4)
