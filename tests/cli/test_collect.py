"""`orchestai collect`, with the planner of paper and real local workers."""

import json
import pathlib
import sys

import pytest

from orchestai_jax.data import learnable_runs, load_samples
from orchestai_jax.workflow import Workflow, read_records

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "workers"))
from loopback_server import serving
from openai_server import answer_chat

PLANNER = ("--planner", "planner")


@pytest.fixture
def texts(tmp_path):
    (tmp_path / "texts.txt").write_text(
        "# what to run\nshorten notes.txt\n\n  Größe ändern\nshorten  NOTES.txt\n", "utf-8"
    )
    return "texts.txt"


def recorded(folder):
    return read_records(folder / "runs" / "records.jsonl")[0]


def test_instructions_of_a_file_are_run_and_recorded_once(command, texts, tmp_path):
    out = command("collect", texts, *PLANNER, "--prefer", "fast").stdout
    assert "[1/2] succeeded, 3 of 3 tasks" in out
    assert "[2/2] " in out
    assert "2 runs of 2 instructions" in out
    assert [record.instruction for record in recorded(tmp_path)] == ["shorten notes.txt", "Größe ändern"]
    assert recorded(tmp_path)[0].planner == {"checkpoint": "planner", "confidence": 0.5, "candidate": 0}
    assert recorded(tmp_path)[0].preference == (0.3, 0.1, 1.0)
    again = command.json("collect", texts, *PLANNER, "--json")
    assert (again["runs"], again["already_recorded"], again["records"]) == (0, 2, "runs/records.jsonl")
    assert len(recorded(tmp_path)) == 2


def test_options_reach_the_collection(command, texts, tmp_path, monkeypatch):
    options = ("-n", "1", "--explore-workers", "1", "--keep-outputs", "--records", "r/r.jsonl", "--json")
    assert command.json("collect", texts, *PLANNER, *options)["instructions"] == 1
    [record], _ = read_records(tmp_path / "r" / "r.jsonl")
    planned = {task.id: task.worker for task in command.planner.plan_tasks}
    assert record.tasks[0].worker != planned["t1"]
    assert record.preference == (1.0, 0.25, 0.25)  # the planner's own
    assert (tmp_path / record.tasks[0].outputs["text"]).is_file()
    monkeypatch.setattr(command.planner, "candidates", None, raising=False)  # as a class without it
    assert "gives one plan an instruction" in command.error("collect", texts, *PLANNER, "--candidates", "2")


def test_runs_of_a_collection_are_limited(command, texts, tmp_path):
    command("collect", texts, *PLANNER, "--deadline", "0.000001")
    assert [run.status for record in recorded(tmp_path) for run in record.tasks] == ["skipped"] * 6
    assert "deadline" in str(recorded(tmp_path)[0].tasks[0].error)
    (tmp_path / "policies.yaml").write_text("default: {timeout_s: 0}\n")
    assert "timeout_s" in command.error("collect", texts, *PLANNER, "--policies", "policies.yaml")
    assert "timeout_s" in command.error("collect", texts, *PLANNER, "--timeout", "-1")
    assert "cost" in command.error("collect", texts, *PLANNER, "--budget", "-1")


def test_what_cannot_run_is_said_and_fails_when_nothing_ran(command, tmp_path, texts):
    (tmp_path / "notes.txt").unlink()
    out = command("collect", texts, *PLANNER, code=1).stdout
    assert "refused (the workflow cannot run" in out
    assert "2 x the workflow cannot run" in out
    assert not (tmp_path / "runs" / "records.jsonl").exists()


def test_made_up_instructions_name_files_of_the_root(command, tmp_path, monkeypatch):
    asked = []
    plan = command.planner.plan

    def listening(self, text, catalog=None, preference=None):
        asked.append(text)
        return plan(self, text, catalog, preference)

    monkeypatch.setattr(command.planner, "plan", listening)
    (tmp_path / "here").mkdir()
    (tmp_path / "notes.txt").rename(tmp_path / "here" / "notes.txt")
    options = ("--synthesize", "-n", "3", "--root", "here", "--seed", "1", "--json")
    assert command.json("collect", *PLANNER, *options)["runs"] == 3
    assert len(set(asked)) == 3
    assert all("notes.txt" in text for text in asked)
    assert command.json("collect", *PLANNER, *options)["already_recorded"] == 3


def test_the_language_models_plans_are_collected(command, texts, tmp_path):
    step = {"id": "a", "task_type": "text_statistics", "arguments": [], "depends_on": []}
    step["arguments"] = [{"name": "text", "value": "notes.txt", "from_task": None, "from_output": None}]
    with serving(lambda request: answer_chat(request, json.dumps({"tasks": [step]}))) as server:
        options = ("--llm", f"{server.url}/v1", "--llm-model", "m", "--hybrid-threshold", "0.9")
        command("collect", texts, *PLANNER, *options)
    assert [record.planner["hybrid"]["source"] for record in recorded(tmp_path)] == ["language_model"] * 2
    samples = learnable_runs(load_samples(tmp_path / "runs" / "records.jsonl", "records"))
    assert [sample.task_types for sample in samples] == [("text_statistics",)] * 2
    assert isinstance(Workflow.model_validate(recorded(tmp_path)[0].planner["hybrid"]["learned_plan"]), Workflow)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("texts.txt",), "--planner is missing"),
        (PLANNER, "give either INSTRUCTIONS"),
        (("texts.txt", *PLANNER, "--synthesize", "-n", "2"), "give either INSTRUCTIONS"),
        (("--synthesize", *PLANNER), "--synthesize needs -n"),
        (("texts.txt", *PLANNER, "--templates", "t.yaml"), "--templates goes with --synthesize"),
        (("texts.txt", *PLANNER, "--root", "none"), "--root none is not a folder"),
        (("none.txt", *PLANNER), "none.txt: No such file"),
        (("bytes.txt", *PLANNER), "bytes.txt is not UTF-8 (byte 2)"),
        (("empty.txt", *PLANNER), "holds no instruction"),
        (("long.txt", *PLANNER), "long.txt, line 2: has more than"),
        (("texts.txt", *PLANNER, "--records", "planner"), "cannot write planner"),
        (("texts.txt", *PLANNER, "--llm", "http://x"), "--llm needs --llm-model"),
    ],
)
def test_wrong_use_is_one_line(command, texts, tmp_path, arguments, said):
    (tmp_path / "bytes.txt").write_bytes(b"a\xff")
    (tmp_path / "empty.txt").write_text("# nothing\n\n")
    (tmp_path / "long.txt").write_text("a\n" + "x" * 40_000)
    assert said in command.error("collect", *arguments)
