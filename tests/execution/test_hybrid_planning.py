"""Hybrid planning, with a planner and a language model of paper, and with a real HTTP server on loopback."""

import asyncio
import json
import logging

import pytest
from loopback_server import serving, unused_port
from openai_server import answer_chat
from paper_planning import (
    ASKED,
    CATALOG,
    GOOD,
    WRONG,
    Model,
    Planner,
    ScoringPlanner,
    given,
    learned,
    plan,
    step,
    taken,
)

from orchestai_jax.config import Preference
from orchestai_jax.execution.hybrid_planning import HybridPolicy, plan_hybrid
from orchestai_jax.execution.plan_dialogue import answer_format
from orchestai_jax.workers import WorkerError
from orchestai_jax.workflow import (
    OpenAIConnection,
    Reference,
    RunRecord,
    Task,
    Value,
    WorkerSpec,
    Workflow,
    append_record,
    read_records,
)


def test_a_sure_plan_is_given_out_and_nobody_is_asked():
    planner, model = Planner(), Model()
    found = plan(planner, model)
    assert found.workflow is planner.workflow
    assert found.source == "learned"
    assert found.as_dict() == {"source": "learned", "reason": None}
    assert model.asked == []
    assert planner.asked == [(ASKED, CATALOG, None)]


def test_an_unsure_plan_is_made_anew_and_both_are_kept():
    model = Model(GOOD)
    found = plan(Planner(learned(0.49)), model)
    assert found.source == "language_model"
    assert found.reason == "the learned plan's confidence 0.49 is under 0.5"
    first, second = found.workflow.tasks
    assert (first.id, first.task_type, first.worker) == ("t1", "blur_image", "good")  # the learned choice
    assert (second.id, second.task_type, second.worker) == ("t2", "caption_image", "good")  # 1 - .25 over .5 - .03
    assert second.arguments == {"image": Reference(task="t1", output="image")}
    assert second.depends_on == ("t1",)
    assert found.workflow.confidence is None
    assert found.workflow.notes == (f"planned by a language model, because {found.reason}",)
    entry = found.as_dict()
    assert entry["learned_plan"]["tasks"][0]["task_type"] == "blur_image"
    assert len(entry["proposed_plan"]["tasks"]) == 2
    assert (entry["answers"], entry["cost"], entry["tokens"], entry["faults"]) == (1, 0.25, 100, [])
    assert entry["outcome"] == "its plan was taken"
    # Workers of new task types follow the preference.
    quick = asyncio.run(
        plan_hybrid(
            ASKED,
            Planner(learned(0)),
            CATALOG,
            model=Model(GOOD),
            preference=Preference.PRESETS["fast"],
            policy=HybridPolicy(),
        )
    )
    assert [task.worker for task in quick.workflow.tasks] == ["good", "quick"]


@pytest.mark.parametrize(
    ("tasks", "said"),
    [
        ((Task(id="t1", task_type="blur_image", worker="good"),), "input 'image' is required and not given"),
        ((Task(id="t1", task_type="paint"),), "which catalog 'small' does not have"),
    ],
)
def test_a_plan_that_does_not_validate_is_made_anew(tasks, said):
    found = plan(Planner(learned(0.9, *tasks)), Model(GOOD))
    assert found.source == "language_model"
    assert found.reason is not None
    assert said in found.reason


def test_an_empty_plan_is_made_anew():
    empty = Workflow(instruction=ASKED, confidence=0.0, notes=("the instruction holds no words",))
    found = plan(Planner(empty), Model(GOOD), threshold=0)
    assert found.source == "language_model"
    assert found.reason == "the learned plan has no tasks (the instruction holds no words)"


def test_faults_are_told_and_the_mended_plan_is_taken():
    model = Model(WRONG, GOOD)
    found = plan(Planner(learned(0.1)), model)
    assert found.source == "language_model"
    assert (found.answers, found.tokens, found.cost, found.faults) == (2, 200, 0.5, ())
    assert model.asked[1][0][:2] == model.asked[0][0]
    told = model.asked[1][0][-1]
    assert told["role"] == "user"
    assert "argument 'language' is unknown to 'translate_text'" in told["content"]
    assert json.loads(model.asked[1][0][-2]["content"]) == WRONG


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ((WRONG, WRONG), "argument 'language' is unknown"),
        (("I would rather not.", "no"), "the answer is not JSON"),
        (({"tasks": [step("a", "rm -rf /")]},) * 2, "has the type 'rm -rf /', which catalog 'small' does not have"),
        (({"tasks": [step("a", "blur_image", taken("image", "b", "image"))]},) * 2, "'b', which is no task"),
        (({"tasks": []},), "finds no task type that fits"),
        ((WorkerError("m answered 500"),), "the language model failed: m answered 500"),
        ((WRONG, WorkerError("m broke off")), "the language model failed: m broke off"),
    ],
    ids=["invalid", "no JSON", "unknown tool", "dangling", "empty", "error", "error at the repair"],
)
def test_the_learned_plan_is_used_and_says_so_where_the_model_gives_none(answers, said, caplog):
    planner, model = Planner(learned(0.2)), Model(*answers)
    with caplog.at_level(logging.WARNING):
        found = plan(planner, model)
    assert found.source == "learned"
    assert found.workflow.tasks == planner.workflow.tasks
    assert found.workflow.notes[0] == "learned"
    assert said in found.workflow.notes[1]
    assert "confidence 0.20 is under 0.5" in found.workflow.notes[1]
    assert said in found.outcome
    assert said in caplog.text
    assert model.answers == []


def test_without_a_model_the_low_confidence_is_said():
    found = plan(Planner(learned(0.2)))
    assert found.source == "learned"
    assert found.workflow.notes == (
        "learned",
        "the learned plan's confidence 0.20 is under 0.5; no language model was asked",
    )
    assert found.as_dict()["outcome"] == "no language model was asked"


def test_open_arguments_are_noted_and_only_better_plans_are_taken_for_them():
    leaves_open = {"tasks": [step("a", "resize_image", given("image", "photo.png"))]}
    unsure = plan(Planner(learned(0.1)), Model(leaves_open, leaves_open))
    assert unsure.source == "language_model"
    assert "parameter 'width' is required and not given" in unsure.workflow.notes[1]
    open_too = Task(id="t1", task_type="resize_image", worker="quick", arguments={"image": Value(value="photo.png")})
    assert plan(Planner(learned(0.9, open_too)), Model(leaves_open, leaves_open)).source == "learned"
    more_open = open_too.model_copy(update={"arguments": {}})
    assert plan(Planner(learned(0.9, more_open)), Model(leaves_open, leaves_open)).source == "language_model"
    # A repair that makes it worse is not taken, and one that does not come is done without.
    nothing_given = {"tasks": [step("a", "resize_image")]}
    assert plan(Planner(learned(0.1)), Model(leaves_open, nothing_given)).workflow.tasks[0].arguments
    unmended = plan(Planner(learned(0.1)), Model(leaves_open, WorkerError("gone", cost=0.5, tokens=7)))
    assert unmended.source == "language_model"
    said = "its repair failed: the language model failed: gone"
    assert unmended.workflow.notes[-1] == f"{said}; the plan before it was taken"
    assert said in unmended.outcome
    assert (unmended.cost, unmended.tokens) == (0.25 + 0.5, 100 + 7), "a failed answer may cost too"
    kept = plan(Planner(learned(0.1)), Model(leaves_open, WRONG))
    assert [task.task_type for task in kept.workflow.tasks] == ["resize_image"]


def test_policy_says_how_often_how_and_over_how_much_is_asked():
    model = Model(WRONG)
    assert plan(Planner(learned(0.1)), model, repairs=0).answers == 1
    assert model.asked[0][1]["type"] == "json_schema"
    for structured, form in (("json_object", {"type": "json_object"}), ("none", None)):
        model = Model(GOOD)
        plan(Planner(learned(0.1)), model, structured=structured)
        assert model.asked[0][1] == form
    many = plan(Planner(learned(0.1)), Model(GOOD, GOOD), max_tasks=1)
    assert many.source == "learned"
    assert "2 tasks; at most 1" in many.faults[0]
    assert plan(Planner(learned(0.1)), None, threshold=0.1).reason is None
    few = plan(Planner(learned(0.1)), Model(GOOD), task_types=2)
    assert few.task_types == ("blur_image", "caption_image")  # what was planned, and what the words say
    by_score = plan(ScoringPlanner(learned(0.1)), Model(GOOD, GOOD), task_types=2)
    assert by_score.task_types == ("blur_image", "send_money")  # what was planned, and the highest score
    assert by_score.source == "learned"
    assert "'caption_image', which catalog 'small' does not have" in by_score.faults[0]  # was not offered


def test_the_plan_and_its_story_survive_in_a_record(tmp_path):
    found = plan(Planner(learned(0.1)), Model(WRONG, GOOD))
    record = RunRecord(run_id="r", workflow=found.workflow, status="succeeded", planner={"hybrid": found.as_dict()})
    append_record(tmp_path / "r.jsonl", record)
    [back], _ = read_records(tmp_path / "r.jsonl")
    assert back.planner["hybrid"] == found.as_dict()
    assert Workflow.model_validate(back.planner["hybrid"]["learned_plan"]) == learned(0.1)


def _worker(url, **connection):
    from orchestai_jax.workers.openai_compatible import OpenAIWorker

    given = OpenAIConnection(model="m", base_url=f"{url}/v1", key_env=None, **connection)
    return OpenAIWorker(WorkerSpec(id="planner", connection=given))


@pytest.mark.parametrize("streamed", [True, False])
def test_a_real_endpoint_is_asked_by_http(streamed):
    answers = [WRONG, GOOD]

    async def once(url):
        model = _worker(url, stream=streamed)
        try:
            return await plan_hybrid(ASKED, Planner(learned(0.1)), CATALOG, model=model, policy=HybridPolicy())
        finally:
            await model.close()

    with serving(lambda request: answer_chat(request, json.dumps(answers.pop(0)), usage=(30, 4))) as server:
        found = asyncio.run(once(server.url))
    assert found.source == "language_model"
    assert (found.answers, found.tokens) == (2, 68)
    assert len(server.requests) == 2
    asked = server.requests[0].json
    assert asked["response_format"] == answer_format(CATALOG)
    assert asked["messages"][0]["role"] == "system"


def test_an_endpoint_that_is_not_there_is_said():
    async def once():
        model = _worker(f"http://127.0.0.1:{unused_port()}")
        try:
            return await plan_hybrid(ASKED, Planner(learned(0.1)), CATALOG, model=model)
        finally:
            await model.close()

    found = asyncio.run(once())
    assert found.source == "learned"
    assert "cannot be reached" in found.workflow.notes[-1]
