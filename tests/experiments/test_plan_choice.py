"""Choices among plans: the log-linear fit against an independent optimum, votes, that nothing is judged where it was
fitted."""

import math

import numpy as np
import pytest
import scipy.optimize
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("sklearn")

import plan_choice as script
from _log_linear import fit_log_linear, softmax, standardised
from _plan_features import NAMES, Seen, agreement, features, judge
from _plan_pools import Pool
from sklearn.linear_model import LogisticRegression

from orchestai_jax.data import PlanningSample

PLANS = (("a", "b"), ("b", "a"), ("a", "c"), ("a",))
TRAIN = [
    PlanningSample("1", "x", ("a", "b"), ((0, 1),)),
    PlanningSample("2", "y", ("a", "b"), ((0, 1),)),
    PlanningSample("3", "z", ("b", "a"), ((0, 1),)),
    PlanningSample("4", "w", ("a", "c"), ((0, 1),)),
]
GOLD = PlanningSample("5", "v", ("a", "c"), ((0, 1),))
COSINES = {kind: np.array([0.1, 0.2, 0.0, 0.9]) for kind in ("tuned", "frozen", "both")}


def pool(logp=(-0.5, -1.0, -2.0, -3.0)):
    return Pool(PLANS, np.array(logp), {"a": 20.0, "b": -1.0, "c": 1.5}, {"a": 2.0, "b": 9.0, "c": 4.0})


def one():
    return judge(GOLD, pool(), COSINES, Seen.of(TRAIN))


def test_two_candidates_are_a_logistic_regression():
    random = np.random.default_rng(0)
    x = random.normal(size=(200, 3))  # the first candidate less the second, which is all zeros
    right = random.random(200) < 1 / (1 + np.exp(-x @ [1.0, -2.0, 0.5]))
    pools = [np.stack([row, np.zeros(3)]) for row in x]
    got = fit_log_linear(pools, [np.array([r, not r], float) for r in right], temperature=1e-3, penalty=0.7)
    wanted = LogisticRegression(C=1 / 0.7, fit_intercept=False, tol=1e-10).fit(x, right).coef_[0]
    np.testing.assert_allclose(got, wanted, rtol=2e-3, atol=2e-3)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000))
def test_pools_may_differ_in_size(seed):
    random = np.random.default_rng(seed)
    pools = [random.normal(size=(random.integers(1, 6), 2)) for _ in range(8)]
    gains = [random.random(len(p)) for p in pools]

    def loss(w):
        cross = 0.0
        for x, gain in zip(pools, gains, strict=True):
            target = np.exp(gain / 0.5) / np.exp(gain / 0.5).sum()
            cross -= target @ np.log(np.exp(x @ w) / np.exp(x @ w).sum())
        return cross + 0.15 * w @ w

    wanted = scipy.optimize.minimize(loss, np.zeros(2), method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-9}).x
    np.testing.assert_allclose(fit_log_linear(pools, gains, temperature=0.5, penalty=0.3), wanted, atol=1e-3)


def test_a_fit_wants_a_gain_for_each_candidate():
    with pytest.raises(ValueError, match="gain for each"):
        fit_log_linear([np.zeros((2, 1))], [np.zeros(3)])
    with pytest.raises(ValueError, match="no samples"):
        fit_log_linear([], [])


def test_features_are_told_apart_within_a_pool_only():
    got = standardised([np.array([[1.0, 5.0], [3.0, 5.0]]), np.array([[100.0, 7.0]])])
    assert np.concatenate(got)[:, 0].mean() == pytest.approx(0)
    assert np.concatenate(got)[:, 0].std() == pytest.approx(1)
    assert not np.concatenate(got)[:, 1].any()


def test_agreement_is_the_mean_of_both_f1s():
    got = agreement(PLANS, PLANS)
    np.testing.assert_allclose(np.diag(got), 1)
    np.testing.assert_allclose(got, got.T)
    assert got[0, 1] == pytest.approx(0.5)  # the same set, no link in common
    assert got[0, 2] == pytest.approx(0.25)
    assert got[0, 3] == pytest.approx((2 / 3 + 0) / 2)


def test_features_of_a_plan():
    got = dict(zip(NAMES, features(one(), Seen.of(TRAIN)).T, strict=True))
    assert got["logp"].tolist() == [-0.5, -1.0, -2.0, -3.0]
    assert got["tasks"].tolist() == [2, 2, 2, 1]
    assert got["labels"].tolist() == [11.0, 11.0, 13.5, 12.0]  # certainty is cut
    assert got["order"][0] == pytest.approx(math.log(2.5 / 1.5))
    assert got["order"][1] == pytest.approx(-got["order"][0])
    assert got["mentions"][0] == pytest.approx(math.tanh(7 / 5))
    assert got["mentions"][1] == pytest.approx(-math.tanh(7 / 5))
    assert got["chain_seen"].tolist() == pytest.approx([math.log(3), math.log(2), math.log(2), 0])
    assert got["set_seen"].tolist() == pytest.approx([math.log(4), math.log(4), math.log(2), 0])
    share = softmax(np.array([0.9, 0.2, 0.1, 0.0]) / 0.05)[0]
    assert got["tuned_plan"][2] == pytest.approx(math.log(share + 0.02))
    assert got["frozen_plan"][3] == pytest.approx(math.log(0.02))
    assert np.argmax(got["tuned_tasks"]) == 2


def test_the_nearest_are_asked_the_nearest_first():
    train = [PlanningSample(str(i), "x", (f"t{i}",)) for i in range(40)]
    near = judge(GOLD, pool(), {"tuned": np.linspace(0, 1, 40)}, Seen.of(train)).neighbours["tuned"]
    assert near.plans == tuple((f"t{i}",) for i in range(39, 23, -1))
    assert near.cosines[0] == 1
    assert near.agreement.shape == (4, 16)


def test_neighbours_can_outvote_the_beam():
    judged = [one()] * 20
    assert script.own_choice(judged[0], 4, 1.0) == 0
    chosen = script.with_neighbours(judged, "tuned", 1.0)(np.arange(10), np.arange(10, 20))
    assert set(chosen) == {2}  # the plan of the nearest training instruction, which is the gold one
    assert judged[0].figures[2].tolist() == [1, 1, 1]


def test_no_sample_is_judged_by_a_choice_that_was_fitted_on_it():
    judged = [one()] * 23
    seen = []

    def choose(fit, held_out):
        assert not set(fit) & set(held_out)
        assert len(fit) + len(held_out) == 23
        seen.append(held_out)
        return [2] * len(held_out)

    found = script.cross_validated(judged, choose, draws=2)
    assert sorted(np.concatenate(seen).tolist()) == sorted([*range(23)] * 2)
    np.testing.assert_array_equal(found, 1)


def test_what_is_reported():
    random = np.random.default_rng(0)
    judged = [judge(GOLD, pool(np.sort(random.normal(size=4))[::-1]), COSINES, Seen.of(TRAIN)) for _ in range(30)]
    got = script.measure(judged, Seen.of(TRAIN), width=2, temperature=1.0, draws=1)
    assert got["best_of_pool"] == {"node_f1": 1, "link_f1": 1, "accuracy": 1}
    assert got["today"]["node_f1"] == pytest.approx(0.5)  # the gold plan is third in the beam
    learned = got["choices"]["log-linear: + label head"]
    assert learned["mean"]["link_f1"] == 1
    assert learned["gain"]["link_f1"]["mean"] == pytest.approx(1)
    assert learned["gain"]["link_f1"]["interval"] == pytest.approx([1, 1])
    shown = script.table({"n": {"validation": 30}, "beams": 4, **got})
    assert shown.row_count == 2 + len(got["choices"])


@pytest.mark.slow
@pytest.mark.timeout(900)  # compiles a planner's train step
def test_pools_are_what_the_planner_finds(public_data, tmp_path, monkeypatch):
    from _plan_pools import PoolMaker
    from _training_runs import TINY_PLANNER

    from orchestai_jax.config import load_config
    from orchestai_jax.data import save_samples
    from orchestai_jax.planner import Planner
    from orchestai_jax.training.supervised import train_planner
    from orchestai_jax.training.training_samples import load_training_samples

    monkeypatch.setenv("ORCHESTAI_DATA", str(public_data("ultratool/train.jsonl").parents[1]))
    path = script.ROOT / "configs" / "planner_ultratool.yaml"
    loaded = load_training_samples(load_config(path, []))
    files = {"train": loaded.train[:64], "validation": loaded.validation[:24]}
    for name, part in files.items():
        save_samples(tmp_path / f"{name}.jsonl", part)
    given = [*TINY_PLANNER, "data.format=planning", "training.phase1_supervised.num_epochs=1", "system.progress=none"]
    given += [f"data.{name}={tmp_path / name}.jsonl" for name in files]
    config = load_config(path, given)
    train_planner(config, tmp_path / "run")

    texts = [s.instruction for s in files["validation"]][:6]
    pools = PoolMaker(config, tmp_path / "run").search(texts, 4)
    planner = Planner.from_checkpoint(tmp_path / "run")
    for text, found in zip(texts, pools, strict=True):
        assert found.plans == tuple(tuple(t.task_type for t in w.tasks) for w in planner.candidates(text, 4))
        assert np.all(np.diff(found.logp) <= 0)
        scores = planner.task_type_scores(text)
        assert {t: 1 / (1 + math.exp(-x)) for t, x in found.labels.items()} == pytest.approx(
            {t: scores[t] for t in found.labels}, abs=1e-5
        )
    options = ["--planner", str(tmp_path / "run"), "--results", str(tmp_path), "--beams", "8", "--draws", "1", *given]
    got = script.main(options)
    assert got["n"] == {"train": 64, "validation": 24}
    assert got["best_of_pool"]["node_f1"] >= got["today"]["node_f1"]
    assert (tmp_path / "plan_choice.json").exists()
