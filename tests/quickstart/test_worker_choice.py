import pytest

from orchestai_jax.config import Preference
from orchestai_jax.data import PlanningSample
from orchestai_jax.quickstart import score_worker_choice
from orchestai_jax.workflow import Task, Workflow


def sample(task_types, preference="balanced"):
    return PlanningSample("s", "do it", task_types, preference=Preference.PRESETS[preference].weights)


def plan(**workers):
    return Workflow(tasks=tuple(Task(id=f"t{i}", task_type=t, worker=w) for i, (t, w) in enumerate(workers.items())))


def test_planner_and_trivial_choices_are_compared_on_the_same_tasks(outcomes):
    samples = [sample(("resize_image", "crop_image"), "fast"), sample(("blur_image",), "quality")]
    plans = [
        plan(resize_image="resize_image_nearest", crop_image="crop_image_pillow"),
        plan(blur_image="blur_image_box"),
    ]
    report = score_worker_choice(samples, plans, outcomes)
    assert report.tasks == 2  # cropping has one worker: nothing to choose
    assert report.planner.accuracy == 0.5
    assert report.always_cheapest.accuracy == 0.5  # right when it must be fast
    assert report.always_best.accuracy == 0.5  # right when it must be good
    assert report.random.accuracy == pytest.approx(1 / 3)
    assert report.planner.regret > 0
    assert report.as_dict()["planner"]["accuracy"] == 0.5


def test_what_was_not_planned_is_left_out_and_counted(outcomes):
    report = score_worker_choice(
        [sample(("resize_image", "blur_image"), "fast")], [plan(resize_image="resize_image_nearest")], outcomes
    )
    assert (report.tasks, report.not_planned) == (1, 1)
    assert report.planner.accuracy == 1.0
    assert report.planner.regret == 0.0


def test_a_task_without_worker_is_wrong_and_gives_all_away(outcomes):
    worst = score_worker_choice([sample(("resize_image",), "fast")], [plan(resize_image=None)], outcomes)
    assert worst.planner.accuracy == 0.0
    assert worst.planner.regret >= worst.random.regret > 0


def test_without_choices_there_is_no_report(outcomes):
    assert score_worker_choice([sample(("crop_image",))], [plan(crop_image="crop_image_pillow")], outcomes) is None


def test_one_plan_a_sample(outcomes):
    with pytest.raises(ValueError, match="zip"):
        score_worker_choice([sample(("crop_image",))], [], outcomes)
