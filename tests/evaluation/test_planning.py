"""Scores of plans, against scikit-learn and against counting by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestai_jax.data.sample import PlanningSample
from orchestai_jax.evaluation import (
    PredictedPlan,
    chain_links,
    pooled_f1,
    predicted_plan,
    reference_counts,
    reference_f1,
    score_plans,
)
from orchestai_jax.evaluation.planning import is_acyclic
from orchestai_jax.workflow import Catalog, Port, Reference, Task, TaskType, Value, Workflow

TYPES = "abcdef"


def sample(types, edges=(), workers=None, name="s"):
    return PlanningSample(name, "do it", tuple(types), tuple(edges), workers=workers)


def plan(types, edges=(), workers=None, valid=True):
    return PredictedPlan(tuple(types), tuple(edges), workers, valid)


@st.composite
def dags(draw):
    types = draw(st.lists(st.sampled_from(TYPES), max_size=6))
    pairs = [(i, j) for i in range(len(types)) for j in range(i + 1, len(types))]
    edges = draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []
    return tuple(types), tuple(edges)


def one(gold, predicted):
    scores = score_plans([gold], [predicted])
    return scores.node_f1[0], scores.link_f1[0], scores.accuracy[0], scores.coverage[0], scores.dag_validity[0]


def test_a_perfect_plan_has_every_score_one():
    assert one(sample("abc", [(0, 1), (1, 2)]), plan("abc", [(0, 1), (1, 2)])) == (1, 1, 1, 1, 1)


def test_nodes_and_links_are_sets_of_task_types():
    # gold {a,b,c}, predicted {a,b,d,e}: 2*2/7; links gold {ab,bc}, predicted {ab}: 2*1/3
    got = one(sample("abc", [(0, 1), (1, 2)]), plan("abde", [(0, 1)]))
    assert got == pytest.approx((4 / 7, 2 / 3, 0, 1, 1))
    # the order in which nodes are listed and a task type that comes twice change nothing
    assert one(sample("abc", [(0, 1)]), plan("cbaa", [(2, 1), (3, 1)])) == (1, 1, 1, 1, 1)


@pytest.mark.parametrize(
    "gold,predicted,link_f1",
    [
        (sample("a"), plan("a"), 1.0),  # no links on either side
        (sample("a"), plan("ab", [(0, 1)]), 0.0),
        (sample("ab", [(0, 1)]), plan("ab"), 0.0),
        (sample("ab", [(0, 1)]), plan("ab", [(1, 0)]), 0.0),  # direction counts
        (sample("a"), None, 1.0),  # a missing plan is empty, and so are the gold links
    ],
)
def test_link_f1_where_a_side_is_empty(gold, predicted, link_f1):
    assert one(gold, predicted)[1] == link_f1


@pytest.mark.parametrize("predicted,dag", [(None, 0), (plan("ab", [(0, 1)], valid=False), 1), (plan(""), 1)])
def test_a_missing_invalid_or_empty_plan_covers_nothing(predicted, dag):
    assert one(sample("ab", [(0, 1)]), predicted) == (0, 0, 0, 0, dag)


def test_a_cycle_makes_the_plan_invalid_whatever_it_says_of_itself():
    assert one(sample("ab", [(0, 1)]), plan("ab", [(0, 1), (1, 0)], valid=True)) == (0, 0, 0, 0, 0)
    assert one(sample("a"), plan("a", [(0, 0)])) == (0, 1, 0, 0, 0)


def test_scores_agree_with_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    samples, plans = [], []
    gold_matrix, predicted_matrix = np.zeros((200, 6), int), np.zeros((200, 6), int)
    gold_links, predicted_links = np.zeros((200, 36), int), np.zeros((200, 36), int)

    def draw(nodes, links):
        chosen = np.flatnonzero(rng.random(6) < 0.4)
        nodes[chosen] = 1
        edges = [(i, j) for i in range(len(chosen)) for j in range(i + 1, len(chosen)) if rng.random() < 0.5]
        for i, j in edges:
            links[6 * chosen[i] + chosen[j]] = 1
        return tuple(TYPES[i] for i in chosen), tuple(edges)

    for row in range(200):
        samples.append(sample(*draw(gold_matrix[row], gold_links[row])))
        plans.append(plan(*draw(predicted_matrix[row], predicted_links[row])))
    scores = score_plans(samples, plans)
    score = {"average": "samples", "zero_division": 1.0}
    assert scores.means["node_f1"] == pytest.approx(metrics.f1_score(gold_matrix, predicted_matrix, **score), abs=1e-12)
    assert scores.means["link_f1"] == pytest.approx(metrics.f1_score(gold_links, predicted_links, **score), abs=1e-12)
    assert scores.means["accuracy"] == pytest.approx(metrics.accuracy_score(gold_matrix, predicted_matrix))
    # every task type comes once, so pairs of calls are pairs of types, and pooling is sklearn's micro average
    assert reference_f1(samples, plans) == pytest.approx(metrics.f1_score(gold_links, predicted_links, average="micro"))


@settings(max_examples=50, deadline=None)
@given(dags(), dags())
def test_scores_are_symmetric_bounded_and_one_exactly_for_equal_sets(gold, predicted):
    forward = one(sample(*gold), plan(*predicted))
    backward = one(sample(*predicted), plan(*gold))
    assert forward[:3] == backward[:3]
    assert all(0 <= value <= 1 for value in forward)
    assert (forward[0] == 1) == (set(gold[0]) == set(predicted[0])) == bool(forward[2])
    assert (forward[1] == 1) == (sample(*gold).links == plan(*predicted).links)
    assert forward[4] == 1


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 6), st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=10))
def test_is_acyclic_agrees_with_the_powers_of_the_adjacency_matrix(n, edges):
    edges = [(i % n, j % n) for i, j in edges]
    adjacency = np.zeros((n, n), int)
    for i, j in edges:
        adjacency[i, j] = 1
    assert is_acyclic(n, edges) == (not np.linalg.matrix_power(adjacency, n).any())


def test_selection_accuracy_counts_gold_labels_of_predicted_tasks_only():
    samples = [
        sample("abc", workers=("x", "y", "z")),
        sample("aa", workers=("x", "y")),
        sample("b", workers=(None,)),
    ]
    plans = [
        plan("cba", workers=("z", "x", "x")),  # order free: c right, b wrong, a right
        plan("a", workers=("x",)),  # the second a was not predicted
        plan("b", workers=("x",)),  # no label
    ]
    scores = score_plans(samples, plans)
    assert scores.selection_accuracy == pytest.approx(3 / 4)
    np.testing.assert_array_equal(scores.selection_counts, [[3, 2], [1, 1], [0, 0]])


def test_selection_accuracy_leaves_out_tasks_without_a_choice():
    samples, plans = [sample("abc", workers=("x", "y", "z"))], [plan("abc", workers=("x", "y", "w"))]
    assert score_plans(samples, plans, choices={"b", "c"}).selection_accuracy == 1 / 2
    assert score_plans(samples, plans, choices={"d"}).selection_accuracy is None


def test_selection_accuracy_is_none_without_labels_and_zero_without_predictions():
    assert score_plans([sample("ab")], [plan("ab", workers=("x", "x"))]).selection_accuracy is None
    assert score_plans([sample("ab", workers=(None, None))], [plan("ab")]).selection_accuracy is None
    assert score_plans([sample("ab", workers=("x", "y"))], [None]).selection_accuracy == 0
    assert score_plans([sample("ab", workers=("x", "y"))], [plan("ab")]).selection_accuracy == 0  # no worker chosen


def test_reference_f1_pools_over_samples_and_tells_calls_of_one_type_apart():
    samples = [sample("aab", [(1, 2)]), sample("ab", [(0, 1)]), sample("ab")]
    plans = [plan("aab", [(0, 2)]), plan("ab", [(0, 1)]), plan("abc", [(0, 2), (1, 2)])]
    # the first names the wrong `a`: a link is the pair of types, a reference is the pair of calls
    assert score_plans(samples, plans).link_f1[0] == 1
    np.testing.assert_array_equal(reference_counts(samples, plans), [[0, 1, 1], [1, 1, 1], [0, 2, 0]])
    assert reference_f1(samples, plans) == pytest.approx(2 * 1 / (4 + 2))
    assert reference_f1([sample("a")], [plan("a")]) == 1
    np.testing.assert_allclose(pooled_f1(np.array([[1.0, 2, 2], [0, 0, 0]])), [0.5, 1.0])


def test_invalid_plans_have_no_references():
    np.testing.assert_array_equal(
        reference_counts([sample("ab", [(0, 1)])] * 2, [None, plan("ab", [(0, 1)], valid=False)]), [[0, 0, 1]] * 2
    )


def test_chain_links():
    assert chain_links("abc") == ((0, 1), (1, 2))
    assert chain_links("a") == chain_links("") == ()


def test_as_dict_holds_the_documented_keys():
    figures = score_plans([sample("a")], [plan("a")]).as_dict()
    assert list(figures) == ["node_f1", "link_f1", "accuracy", "coverage", "dag_validity", "selection_accuracy", "n"]
    assert figures["n"] == 1


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="2 plans for 1 samples"):
        score_plans([sample("a")], [None, None])
    with pytest.raises(ValueError, match="no samples"):
        score_plans([], [])
    with pytest.raises(ValueError, match=r"dependency \(0, 1\)"):
        plan("a", [(0, 1)])
    with pytest.raises(ValueError, match="1 entries for 2 tasks"):
        plan("ab", workers=("x",))


CATALOG = Catalog(
    task_types=(
        TaskType(id="load", outputs=(Port(name="out", type="text"),)),
        TaskType(
            id="use",
            inputs=(Port(name="text", type="text"),),
            outputs=(Port(name="out", type="text"),),
        ),
    )
)


def workflow(*tasks):
    return Workflow(instruction="do it", tasks=tasks)


def test_predicted_plan_reads_tasks_workers_and_edges():
    load, after = Task(id="t1", task_type="load"), Reference(task="t1", output="out")
    use = Task(id="t2", task_type="use", arguments={"text": after}, depends_on=("t1",))
    again = Task(id="t3", task_type="use", arguments={"text": after}, depends_on=("t1", "t2"))
    got = predicted_plan(workflow(load, use, again), CATALOG)
    assert got == PredictedPlan(("load", "use", "use"), ((0, 1), (0, 2), (1, 2)), (None, None, None), True)


def test_an_argument_left_open_is_no_fault_of_the_plan():
    assert predicted_plan(workflow(Task(id="t1", task_type="use")), CATALOG).valid


@pytest.mark.parametrize(
    "tasks",
    [
        (Task(id="t1", task_type="unheard_of"),),
        (Task(id="t1", task_type="load"), Task(id="t1", task_type="load")),
        (Task(id="t1", task_type="load", depends_on=("t9",)),),
        (
            Task(id="t1", task_type="use", arguments={"text": Value(value="x")}, depends_on=("t2",)),
            Task(id="t2", task_type="use", arguments={"text": Value(value="x")}, depends_on=("t1",)),
        ),
    ],
)
def test_predicted_plan_of_a_faulty_workflow_is_invalid(tasks):
    assert not predicted_plan(workflow(*tasks), CATALOG).valid
