"""Which runs become training data."""

import pytest

from orchestai_jax.data import PlanningSample, learnable_runs


def run(name, tasks=("a", "b"), links=((0, 1),), instruction="Do it.", preference=(1.0, 0.0, 1.0), **rewards):
    given = {"success": 1.0, "cost": -1.0, "latency": -1.0, **rewards}
    return PlanningSample(name, instruction, tasks, links, preference=preference, rewards=given)


def names(samples, **options):
    return [sample.id for sample in learnable_runs(samples, **options)]


def test_only_what_succeeded_well_enough_is_kept():
    samples = [
        run("done", instruction="1"),
        run("half", instruction="2", success=0.5),
        run("poor", instruction="3", quality=0.3),
        run("good", instruction="4", quality=0.9),
        run("empty", (), (), instruction="5"),
        PlanningSample("no rewards", "6", ("a",)),
    ]
    assert names(samples) == ["done", "poor", "good", "no rewards"]
    assert names(samples, min_success=0.5, min_quality=0.4) == ["done", "half", "good", "no rewards"]
    for limit in ({"min_success": 1.5}, {"min_quality": -1}):
        with pytest.raises(ValueError, match=next(iter(limit))):
            learnable_runs(samples, **limit)


def test_of_one_instruction_the_best_run_is_kept_and_all_when_asked():
    samples = [
        run("slow", latency=-4.0),
        run("other", instruction="Something else."),
        run("quick", instruction=" do  IT. ", latency=-1.0),
        run("for quality", preference=(1.0, 0.0, 0.0)),
    ]
    assert names(samples) == ["other", "quick", "for quality"]
    assert names(samples, every_run=True) == ["slow", "other", "quick", "for quality"]


def test_quality_and_time_are_weighed_by_the_preference():
    pair = [run("good", quality=0.9, latency=-2.0), run("quick", quality=0.5, latency=-1.0)]
    assert names(pair) == ["quick"]  # .5 - .5 against .9 - 1
    wanted = [run(s.id, preference=(1.0, 0.0, 0.5), **s.rewards) for s in pair]
    assert names(wanted) == ["good"]  # .9 - .5 against .5 - .25
    unmeasured = [run("slower", latency=-1.2), run("measured", quality=0.6, latency=-1.0)]
    assert names(unmeasured) == ["measured"]  # the slower one counts with .6, too


def test_without_a_judgement_a_plan_that_does_less_does_not_win():
    first, less = run("first", latency=-2.0), run("less", ("a",), (), latency=-1.0)
    assert names([first, less]) == ["first"]
    assert names([first, less, run("again", latency=-1.5)]) == ["again"]
    linked_otherwise = run("other", links=(), latency=-0.1)
    assert names([first, linked_otherwise]) == ["first"]


def test_a_judgement_outweighs_order_and_time():
    wrong = run("wrong", latency=-1.0, success=0.0, accepted=0.0)
    unjudged, right = run("unjudged", latency=-1.0), run("right", ("c",), (), latency=-9.0, accepted=1.0)
    assert names([wrong, unjudged, right]) == ["right"]
    assert names([wrong, unjudged, right], min_success=0.0) == ["right"]
    assert names([wrong]) == []
