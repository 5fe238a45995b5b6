"""Value F1 and reference F1 of arguments, on cases counted by hand."""

import pytest

from orchestai_jax.data import PlanningSample
from orchestai_jax.data.argument_values import normal_form
from orchestai_jax.evaluation import evaluate_arguments, score_arguments, value_counts
from orchestai_jax.workflow import Reference, Value

SAMPLE = PlanningSample(
    "s",
    "…",
    ("a", "b", "a"),
    ((0, 1),),
    arguments=(
        {"x": {"value": "Paris"}, "n": {"value": "86"}},
        {"in": {"task": 0, "output": "out"}},
        {"x": {"value": "Rome"}},
    ),
)
FILLED = (
    {"x": Value(value=" 'paris' "), "n": Value(value=86), "more": Value(value=1)},
    {"in": Reference(task="t1", output="other")},
    {"x": Value(value="Oslo"), "y": Reference(task="t2", output="out")},
)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Paris", ' "paris" ', True),
        ("86", 86, True),
        ("1,000.50", 1000.5, True),
        (86, 86.0, True),
        ("two  words", "Two words", True),
        (True, 1, False),
        (True, "true", False),
        (["A", 1], ["a", "1"], True),
        (["a", "b"], ["b", "a"], False),
        ({"b": 1, "a": "X"}, {"a": "x", "b": 1}, True),
        ("nan", "NaN", True),
        ("10/12", 10, False),
        ("STRASSE", "straße", True),
    ],
)
def test_when_two_values_are_the_same(one, other, same):
    assert (normal_form(one) == normal_form(other)) is same


def test_values_and_references_are_pooled_over_samples():
    nothing = PlanningSample("none", "…", ("a",))
    got = score_arguments([SAMPLE, nothing], [FILLED, ({"x": Value(value=1)},)])
    assert got.values.tolist() == [[2, 4, 3], [0, 0, 0]]  # without gold arguments nothing counts
    assert got.references.tolist() == [[1, 2, 1], [0, 0, 0]]
    figures = got.as_dict()
    assert figures["value_f1"] == pytest.approx(2 * 2 / 7)
    assert (figures["value_precision"], figures["value_recall"]) == (pytest.approx(2 / 4), pytest.approx(2 / 3))
    assert figures["reference_f1"] == pytest.approx(2 * 1 / 3)
    assert figures["chain_reference_f1"] == pytest.approx(2 * 1 / (2 + 1))
    low, high = figures["intervals"]["value_f1"]
    assert 0 <= low <= figures["value_f1"] <= high <= 1


def test_calls_of_whole_plans_meet_by_type_and_place():
    plan = [("b", {}), ("a", {"x": Value(value="Paris")}), ("c", {"x": Value(value="Rome")})]
    assert value_counts([SAMPLE], [plan]).tolist() == [[1, 2, 3]]
    assert value_counts([SAMPLE], [[]]).tolist() == [[0, 0, 3]]
    with pytest.raises(ValueError, match="2 plans for 1 samples"):
        value_counts([SAMPLE], [[], []])


def test_a_planner_fills_the_gold_tasks():
    class Planner:
        def arguments(self, text, task_types, catalog=None):
            assert (text, task_types) == (SAMPLE.instruction, SAMPLE.task_types)
            return FILLED

    assert evaluate_arguments(Planner(), [SAMPLE]).values.tolist() == [[2, 4, 3]]
