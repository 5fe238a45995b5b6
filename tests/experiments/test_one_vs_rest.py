"""The baseline: order by pair counts, thresholds chosen on validation samples."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("sklearn")

import _one_vs_rest as baseline

from orchestai_jax.data import PlanningSample
from orchestai_jax.evaluation import score_plans

TASKS = {"book_flight": "book a flight", "set_alarm": "set an alarm", "play_music": "play some music"}


def request(*task_types, name="s"):
    text = " and then ".join(f"please {TASKS[t]} for me" for t in task_types)
    edges = tuple((i, i + 1) for i in range(len(task_types) - 1))
    return PlanningSample(name, text, task_types, edges)


def requests(n):
    rng = np.random.default_rng(0)
    order = list(TASKS)  # whatever is asked for is done in this order
    return [request(*[t for t in order if rng.random() < 0.6] or order[:1], name=str(i)) for i in range(n)]


def embed(samples):
    """Embeddings that say nothing, of a length that must not matter."""
    return np.full((len(samples), 4), 1000.0, np.float32)


def test_it_learns_what_words_say_and_the_order_of_training():
    train, validation, test = requests(60), requests(70)[60:], requests(100)[70:]
    fitted = baseline.fit_one_vs_rest(train, embed(train), validation, embed(validation))
    scores = score_plans(test, fitted.plan_many([s.instruction for s in test], embed(test)))
    assert scores.means == {"node_f1": 1, "link_f1": 1, "accuracy": 1, "coverage": 1, "dag_validity": 1}
    assert fitted.settings()["C"] in baseline.STRENGTHS
    assert fitted.settings()["threshold"] in baseline.THRESHOLDS


def test_embeddings_are_used():
    train = [PlanningSample(str(i), "do it", ("a" if i % 2 else "b",)) for i in range(40)]
    embeddings = np.array([[1.0, 0] if i % 2 else [0, 1.0] for i in range(40)], np.float32)
    fitted = baseline.fit_one_vs_rest(train, embeddings, train, embeddings)
    plans = fitted.plan_many(["do it", "do it"], np.eye(2, dtype=np.float32))
    assert [p.task_types for p in plans] == [("a",), ("b",)]


def test_a_plan_has_at_least_the_likeliest_task(monkeypatch):
    monkeypatch.setattr(baseline, "THRESHOLDS", (0.999999,))
    train = requests(40)
    fitted = baseline.fit_one_vs_rest(train, embed(train), train, embed(train))
    (plan,) = fitted.plan_many(["something else altogether"], embed([0]))
    assert len(plan.task_types) == 1


def test_pairs_are_counted_in_order_and_repeats_once():
    counts = baseline.count_pairs([request("set_alarm", "book_flight"), PlanningSample("r", "x", ("a", "b", "a"))])
    assert counts == Counter({("set_alarm", "book_flight"): 1, ("a", "b"): 1})


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=5, unique=True), st.data())
def test_the_best_order_is_best_of_all(task_types, data):
    pairs = list(itertools.permutations("abcdef", 2))
    before = Counter({p: data.draw(st.integers(0, 5)) for p in pairs})

    def value(order):
        return sum(
            math.log((before[order[i], order[j]] + 0.5) / (before[order[j], order[i]] + 0.5))
            for i in range(len(order))
            for j in range(i + 1, len(order))
        )

    found = baseline.best_order(task_types, before)
    assert sorted(found) == sorted(task_types)
    assert value(found) == pytest.approx(max(map(value, itertools.permutations(task_types))))


def test_long_plans_are_ordered_too():
    names = [f"t{i:02d}" for i in range(12)]
    before = Counter(dict.fromkeys(itertools.combinations(names, 2), 9))
    assert baseline.best_order(names[::-1], before) == tuple(names)
