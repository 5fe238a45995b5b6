"""`--llm` and `--hybrid-threshold` of plan and run, against a real HTTP server on loopback."""

import json
import pathlib
import sys

import pytest

from orchestai_jax.workflow import read_records

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "workers"))
from loopback_server import serving, unused_port
from openai_server import answer_chat

PLANNER = ("--planner", "planner")
"""The paper planner is sure to .5."""
ANSWER = {
    "tasks": [
        {
            "id": "count",
            "task_type": "text_statistics",
            "arguments": [{"name": "text", "value": "notes.txt", "from_task": None, "from_output": None}],
            "depends_on": [],
        }
    ]
}


@pytest.fixture
def endpoint():
    with serving(lambda request: answer_chat(request, json.dumps(ANSWER))) as server:
        yield server


def asking(server, *more):
    return ("--llm", f"{server.url}/v1", "--llm-model", "small", *more)


def test_a_plan_under_the_threshold_is_the_models(command, endpoint):
    plan = command.json("plan", "count notes.txt", *PLANNER, *asking(endpoint, "--hybrid-threshold", "0.6"), "--json")
    assert [task["task_type"] for task in plan["tasks"]] == ["text_statistics"]
    assert plan["tasks"][0]["worker"] == "text_statistics_counter"
    assert plan["notes"] == ["planned by a language model, because the learned plan's confidence 0.50 is under 0.6"]
    assert endpoint.requests[0].json["model"] == "small"
    assert (
        "authorization" not in endpoint.requests[0].headers or "none" in endpoint.requests[0].headers["authorization"]
    )


def test_a_plan_over_the_threshold_asks_nobody(command, endpoint):
    plan = command.json("plan", "x", *PLANNER, *asking(endpoint, "--hybrid-threshold", "0.5"), "--json")
    assert len(plan["tasks"]) == 3
    assert endpoint.requests == []


def test_without_a_model_the_doubt_is_said(command):
    shown = command("plan", "x", *PLANNER, "--hybrid-threshold", "0.9").stdout
    assert "note: the learned plan's confidence 0.50 is under 0.9; no language model was asked" in shown


def test_a_key_is_read_from_the_environment_and_sent(command, endpoint, monkeypatch):
    monkeypatch.setenv("PLANNING_KEY", "abc-123")
    options = asking(endpoint, "--hybrid-threshold", "0.9", "--llm-key-env", "PLANNING_KEY")
    command("plan", "x", *PLANNER, *options)
    assert endpoint.requests[0].headers["authorization"] == "Bearer abc-123"


def test_what_planning_costs_follows_from_a_price_table(command, endpoint, tmp_path):
    (tmp_path / "prices.yaml").write_text("large: {per_call: 9}\nsma*: {input_per_million: 1000, per_call: 0.25}\n")
    options = asking(endpoint, "--hybrid-threshold", "0.9", "--llm-prices", "prices.yaml")
    printed = command.json("run", "count", *PLANNER, *options, "--json")
    assert printed["planner"]["hybrid"]["cost"] == pytest.approx(0.25 + 10 * 1000 / 1e6)
    for verb in ("plan", "run"):
        (tmp_path / "prices.yaml").write_text("large: {per_call: 9}\n")
        assert "prices.yaml has no row for the model small" in command.error(verb, "x", *PLANNER, *options)
        (tmp_path / "prices.yaml").write_text("small: {per_cal: 9}\n")
        assert "prices.yaml: small: per_cal: Extra inputs" in command.error(verb, "x", *PLANNER, *options)
        assert "none.yaml" in command.error(verb, "x", *PLANNER, *asking(endpoint), "--llm-prices", "none.yaml")
        assert "go with --llm URL" in command.error(verb, "x", *PLANNER, "--llm-prices", "prices.yaml")


def test_a_run_records_the_reason_and_both_plans(command, endpoint, tmp_path):
    printed = command.json("run", "count", *PLANNER, *asking(endpoint, "--hybrid-threshold", "0.9"), "--json")
    [record], _ = read_records(tmp_path / "runs" / "records.jsonl")
    assert json.loads(record.model_dump_json()) == printed
    assert [run.task_type for run in record.tasks] == ["text_statistics"]
    story = record.planner["hybrid"]
    assert record.planner["confidence"] == 0.5
    assert story["source"] == "language_model"
    assert len(story["learned_plan"]["tasks"]) == 3
    assert len(story["proposed_plan"]["tasks"]) == 1


def test_an_endpoint_that_is_not_there_leaves_the_learned_plan_and_says_so(command):
    options = ("--llm", f"http://127.0.0.1:{unused_port()}/v1", "--llm-model", "m", "--hybrid-threshold", "0.9")
    result = command("plan", "x", *PLANNER, *options, "--json")
    plan = json.loads(result.stdout)
    assert len(plan["tasks"]) == 3
    assert "cannot be reached" in plan["notes"][-1]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--llm", "http://x/v1"), "--llm needs --llm-model"),
        (("--llm-model", "m"), "go with --llm URL"),
        (("--llm", "ftp://x", "--llm-model", "m"), "must be an http or https address"),
        (("--llm", "http://x/v1", "--llm-model", "m", "--llm-key-env", "sk_abc"), "name of an environment variable"),
    ],
)
def test_wrong_use_is_one_line(command, options, said):
    for verb in ("plan", "run"):
        assert said in command.error(verb, "x", *PLANNER, *options)


def test_a_saved_plan_is_not_planned_again(command):
    assert "a saved plan is run as it is" in command.error("run", "--workflow", "p.json", "--hybrid-threshold", "0.5")
