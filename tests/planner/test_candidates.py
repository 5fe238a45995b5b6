"""What else the planner would do, and which task types it hears: for exploration and for narrowing a catalog."""

import pytest

from orchestai_jax.workflow import Catalog, validate_workflow

TEXT = "translate the text of an image a.png"


def test_candidates_are_different_valid_plans(planner, catalog):
    plans = planner.candidates(TEXT, 6)
    assert len(plans) == 6
    assert len({tuple(task.task_type for task in plan.tasks) for plan in plans}) == 6
    for plan in plans:
        assert plan.instruction == TEXT
        assert {fault.code for fault in validate_workflow(plan, catalog)} <= {"missing_argument"}
    assert len(planner.candidates(TEXT, 100)) == 85  # all there are


def test_the_first_candidate_of_one_beam_is_the_greedy_plan(planner):
    [only] = planner.candidates(TEXT, 1)
    given_out = planner.plan(TEXT)  # the tiny planner decodes greedily
    assert only.tasks == given_out.tasks
    assert only.confidence == pytest.approx(given_out.confidence, abs=1e-5)


def test_scores_are_probabilities_of_all_task_types_highest_first(planner, catalog):
    scores = planner.task_type_scores(TEXT)
    assert set(scores) == set(catalog.index)
    assert list(scores.values()) == sorted(scores.values(), reverse=True)
    assert all(0 <= score <= 1 for score in scores.values())
    assert planner.task_type_scores("blur it") != scores


def test_text_that_cannot_be_planned_has_neither(planner):
    for text in ("", "?!"):
        assert planner.candidates(text) == []
        assert planner.task_type_scores(text) == {}
    assert planner.candidates(TEXT, 2, Catalog()) == []
    with pytest.raises(ValueError, match="n is 0"):
        planner.candidates(TEXT, 0)
