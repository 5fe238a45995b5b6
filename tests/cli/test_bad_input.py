"""What bad input gets from `orchestai run`: one line before anything starts, or a failed task with the cause."""

import json
import socket

import pytest
import yaml

SUMMARY = {"id": "t1", "task_type": "summarize_text", "worker": "summarize_text_lead"}
GIVEN = {"text": {"value": "notes.txt"}}
TEXT_OF_T1 = {"text": {"task": "t1", "output": "text"}}


def task(**changes):
    return {**SUMMARY, "arguments": GIVEN, **changes}


@pytest.fixture
def run_plan(command, tmp_path):
    """Runs the command on a saved plan of these tasks."""

    def run(*tasks, code=2, options=()):
        (tmp_path / "plan.json").write_text(json.dumps({"instruction": "do it", "tasks": list(tasks)}))
        arguments = ("run", "--workflow", "plan.json", *options)
        return command.error(*arguments) if code == 2 else command.json(*arguments, "--json", code=code)

    return run


@pytest.mark.parametrize(
    ("tasks", "says"),
    [
        ([task(depends_on=["t2"]), task(id="t2", depends_on=["t1"])], "form a cycle of 2"),
        ([task(), task()], "two tasks have the id 't1'"),
        ([task(task_type="dance")], "has the type 'dance'"),
        ([task(worker="ghost")], "has the worker 'ghost'"),
        ([task(worker="blur_image_box")], "worker 'blur_image_box' cannot do 'summarize_text'"),
        ([task(alternatives=["blur_image_box"])], "worker 'blur_image_box' cannot do 'summarize_text'"),
        ([task(worker=None)], "has no worker"),
        ([task(arguments={"text": {"value": 3}})], "wants text, given 3"),
        ([task(arguments={})], "'text' is required and not given"),
        ([task(arguments={**GIVEN, "loud": {"value": 1}})], "argument 'loud' is unknown"),
        ([task(arguments={**GIVEN, "sentences": {"value": "many"}})], "wants integer, given 'many'"),
        ([task(depends_on=["t9"])], "depends on 't9', which is no task"),
        ([task(), task(id="t2", arguments=TEXT_OF_T1)], "which depends_on does not name"),
        (
            [task(), task(id="t2", depends_on=["t1"], arguments={"text": {"task": "t1", "output": "song"}})],
            "references the output 'song'",
        ),
        (
            [task(), {"id": "t2", "task_type": "blur_image", "worker": "blur_image_box", "depends_on": ["t1"],
                      "arguments": {"image": {"task": "t1", "output": "text"}}}],
            "wants image and references 't1'.'text', which is text",
        ),
        ([task(arguments={"text": {"value": "nots.txt"}})], "did you mean 'notes.txt'"),
        ([task(arguments={"text": {"value": "../secret.txt"}})], "leads out of the root folder"),
        ([task(arguments={"text": {"value": "/etc/passwd.txt"}})], "leads out of the root folder"),
    ],
)  # fmt: skip
def test_what_can_be_known_is_named_before_the_run(run_plan, tmp_path, tasks, says):
    assert says in run_plan(*tasks)
    assert not (tmp_path / "outputs").exists()
    assert not (tmp_path / "runs" / "records.jsonl").exists()


def model_catalog(path, port):
    text = {"name": "text", "type": "text"}
    path.write_text(
        yaml.safe_dump(
            {
                "task_types": [{"id": "answer", "description": "Answer", "inputs": [text], "outputs": [text]}],
                "workers": [
                    {
                        "id": "model",
                        "model_type": "llm",
                        "task_types": ["answer"],
                        "connection": {
                            "kind": "openai",
                            "model": "m",
                            "base_url": f"http://127.0.0.1:{port}/v1",
                            "key_env": "TEST_ANSWER_KEY",
                        },
                    }
                ],
            }
        )
    )


def test_a_missing_key_is_named_before_the_run_and_an_unreachable_endpoint_fails_its_task(
    run_plan, tmp_path, monkeypatch
):
    pytest.importorskip("openai")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    model_catalog(tmp_path / "c.yaml", port)
    ask = {"id": "t1", "task_type": "answer", "worker": "model", "arguments": {"text": {"value": "hello there"}}}
    monkeypatch.delenv("TEST_ANSWER_KEY", raising=False)
    options = ("--catalog", "c.yaml", "--attempts", "1")
    assert "TEST_ANSWER_KEY" in run_plan(ask, options=options)
    monkeypatch.setenv("TEST_ANSWER_KEY", "sk-test-not-a-real-key")
    record = run_plan(ask, options=options, code=1)
    (run,) = record["tasks"]
    assert run["status"] == "failed"
    assert "127.0.0.1" in run["error"] or "connect" in run["error"].lower()
    assert "sk-test-not-a-real-key" not in (tmp_path / "runs" / "records.jsonl").read_text()
