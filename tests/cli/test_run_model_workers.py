"""`orchestai run` with language tasks on an OpenAI-compatible endpoint on loopback, beside local tools."""

import json

import pytest
from loopback_server import serving, unused_port
from openai_server import answer_chat, error

from orchestai_jax.quickstart import load_embedded_catalog
from orchestai_jax.workers import load_bundled_catalog
from orchestai_jax.workflow import (
    Catalog,
    OpenAIConnection,
    Prices,
    Reference,
    Task,
    Value,
    WorkerSpec,
    Workflow,
    merge_catalogs,
    save_catalog,
    save_workflow,
)

MODELS = load_bundled_catalog("model_tasks")


def write_inputs(folder, url, **connection):
    """A catalog and a plan: statistics of a note beside its translation, which is then rewritten."""
    connection = {"model": "m", "base_url": f"{url}/v1", "key_env": None, **connection}
    fields = {"prices": Prices(input_per_million=1e3, output_per_million=1e3), **connection}
    gpt = WorkerSpec(
        id="gpt",
        task_types=("translate_text", "rewrite_text"),
        connection=OpenAIConnection(**fields),
    )
    whole = merge_catalogs(load_embedded_catalog(), MODELS)
    save_catalog(merge_catalogs(whole, Catalog(task_types=MODELS.task_types, workers=(gpt,))), folder / "c.yaml")
    note = Value(value="notes.txt")
    tasks = (
        Task(id="t1", task_type="text_statistics", worker="text_statistics_counter", arguments={"text": note}),
        Task(
            id="t2",
            task_type="translate_text",
            worker="gpt",
            arguments={"text": note, "language": Value(value="German")},
        ),
        Task(
            id="t3",
            task_type="rewrite_text",
            worker="gpt",
            arguments={"text": Reference(task="t2", output="text"), "request": Value(value="more polite")},
            depends_on=("t2",),
        ),
    )
    save_workflow(Workflow(instruction="count and translate", tasks=tasks), folder / "plan.json")


RUN = ("run", "--workflow", "plan.json", "--catalog", "c.yaml")


def record_of(result):
    record = json.loads(result.stdout)
    return record, {task["task"]: task for task in record["tasks"]}


def test_language_tasks_run_beside_local_ones(command, tmp_path):
    asked = []

    def answer(request):
        text = request.json["messages"][-1]["content"]
        asked.append(text)
        if len(asked) == 1:
            request.answer_json(error("slow down"), 429, retry_after_ms="20")
        elif len(asked) == 2:
            request.answer_json(error("hiccup"), 500)
        else:
            answer_chat(request, "Bitte sehr" if "more polite" in text else "Guten Tag", usage=(7, 3))

    with serving(answer) as server:
        write_inputs(tmp_path, server.url)
        record, tasks = record_of(command(*RUN, "--attempts", "3", "--json"))
    assert record["status"] == "succeeded"
    assert tasks["t1"]["outputs"]["statistics"]["words"] > 50
    assert tasks["t2"]["outputs"] == {"text": "Guten Tag"}
    assert tasks["t3"]["outputs"] == {"text": "Bitte sehr"}
    assert tasks["t2"]["tokens"] == tasks["t3"]["tokens"] == 10
    assert tasks["t2"]["cost"] == pytest.approx(0.01)
    assert record["cost"] > 0.02
    assert "JAX compiles programs" in asked[0]
    assert "Guten Tag" in asked[-1], "the second task got what the first gave"
    assert len(asked) == 4, "the rate limit was waited out, the hiccup tried again"


def test_an_endpoint_that_is_not_there_fails_its_tasks_and_no_others(command, tmp_path):
    write_inputs(tmp_path, f"http://127.0.0.1:{unused_port()}")
    record, tasks = record_of(command(*RUN, "--attempts", "1", "--json", code=1))
    assert record["status"] == "partial"
    assert [tasks[name]["status"] for name in ("t1", "t2", "t3")] == ["succeeded", "failed", "skipped"]
    assert "cannot be reached" in tasks["t2"]["error"]


def test_a_missing_key_is_said_before_anything_runs(command, tmp_path, monkeypatch):
    monkeypatch.delenv("THE_KEY", raising=False)
    write_inputs(tmp_path, "https://models.example", key_env="THE_KEY")
    refused = command.error(*RUN)
    assert "the environment variable THE_KEY is not set" in refused
    assert not (tmp_path / "outputs").exists()


def test_a_key_reaches_the_service_and_no_record(command, tmp_path, monkeypatch):
    monkeypatch.setenv("THE_KEY", "sk-abcdef-123456")

    def answer(request):
        key = request.headers["authorization"]
        request.answer_json(error(f"{key} is not welcome"), 401)

    with serving(answer) as server:
        write_inputs(tmp_path, server.url, key_env="THE_KEY")
        result = command(*RUN, "--attempts", "1", "--json", code=1)
        assert server.requests[0].headers["authorization"] == "Bearer sk-abcdef-123456"
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert "refuses access (401)" in result.stdout
    for text in (result.stdout, result.stderr, *(path.read_bytes().decode("utf-8", "replace") for path in written)):
        assert "abcdef" not in text
