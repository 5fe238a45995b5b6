import json

import hypothesis
import pytest
from hypothesis import strategies as st

from orchestai_jax.workflow import (
    RecordError,
    RunRecord,
    Task,
    TaskRun,
    Value,
    Workflow,
    WorkflowError,
    append_record,
    read_records,
    training_example,
)


@pytest.fixture
def record(diamond):
    return RunRecord(
        run_id="run-1",
        instruction=diamond.instruction,
        created="2025-01-01T00:00:00+00:00",
        planner={"name": "test", "seed": 3},
        preference=(1.0, 0.25, 0.25),
        workflow=diamond,
        tasks=(
            TaskRun(
                task="make", task_type="make_image", worker="pillow", status="succeeded", outputs={"image": "a.png"}
            ),
            TaskRun(task="small", task_type="resize", worker="pillow-2", status="succeeded", quality=0.5),
            TaskRun(task="words", task_type="read_text", worker="ocr", status="failed", error="no text found"),
            TaskRun(task="pack", task_type="archive", status="skipped"),
        ),
        status="partial",
        duration_s=1.2,
        cost=0.045,
    )


def test_records_come_back_as_they_were(tmp_path, record):
    path = tmp_path / "deep" / "runs.jsonl"
    other = record.model_copy(update={"run_id": "run-2"})
    append_record(path, record)
    append_record(path, other)
    assert read_records(path) == ([record, other], [])
    assert path.read_bytes().count(b"\n") == 2


@hypothesis.settings(max_examples=20, deadline=None)
@hypothesis.given(data=st.data())
def test_any_workflow_and_any_json_survive(tmp_path_factory, dags, json_values, data):
    workflow = data.draw(dags)
    runs = tuple(
        TaskRun(task=t.id, task_type=t.task_type, status="succeeded", outputs={"x": data.draw(json_values)})
        for t in workflow.tasks
    )
    record = RunRecord(run_id="r", workflow=workflow, tasks=runs, status="succeeded")
    path = tmp_path_factory.mktemp("records") / "runs.jsonl"
    append_record(path, record)
    append_record(path, record)
    assert read_records(path) == ([record, record], [])


def test_a_literal_that_looks_like_a_reference_stays_one():
    values = [{"task": "t", "output": "o"}, {"value": 1}, {}, None, [], [{"value": None}]]
    task = Task(id="1", task_type="x", arguments={str(i): Value(value=v) for i, v in enumerate(values)})
    workflow = Workflow(tasks=(task,))
    assert Workflow.model_validate_json(workflow.model_dump_json()) == workflow


@pytest.mark.parametrize("cut", [1, 10, 200])
def test_a_torn_last_line_is_reported_and_left_out(tmp_path, record, cut):
    path = tmp_path / "runs.jsonl"
    append_record(path, record)
    whole = path.read_bytes()
    path.write_bytes(whole + whole[: -1 - cut])
    records, problems = read_records(path)
    assert records == [record]
    assert len(problems) == 1
    assert "line 2" in problems[0]


def test_a_line_torn_inside_a_character_is_torn_too(tmp_path, record):
    path = tmp_path / "runs.jsonl"
    append_record(path, record)
    path.write_bytes(path.read_bytes() + '{"run_id": "é'.encode()[:-1])
    assert len(read_records(path)[1]) == 1


def test_a_whole_last_line_without_newline_counts(tmp_path, record):
    path = tmp_path / "runs.jsonl"
    append_record(path, record)
    path.write_bytes(path.read_bytes()[:-1])
    assert read_records(path) == ([record], [])
    append_record(path, record)
    assert read_records(path) == ([record, record], [])


@pytest.mark.parametrize("torn", [b'{"run_id": "x', b"{" + b"x" * 200_000])
def test_appending_moves_a_torn_line_away(tmp_path, record, torn, caplog):
    path = tmp_path / "runs.jsonl"
    append_record(path, record)
    path.write_bytes(path.read_bytes() + torn)
    append_record(path, record)
    assert read_records(path) == ([record, record], [])
    assert (tmp_path / "runs.jsonl.torn").read_bytes() == torn + b"\n"
    assert "torn" in caplog.text


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"{torn", "not JSON"),
        (b"\xff\xfe", "not UTF-8"),
        (b"[1]", "list"),
        (b'{"schema_version": 3}', "schema_version is 3"),
        (b'{"run_id": "x", "workflow": {}, "status": "won"}', "status"),
        (b'{"run_id": "x", "workflow": {"tasks": [{"id": 3}]}, "status": "failed"}', r"workflow.tasks\[0\].id"),
        (b'{"run_id": "x", "workflow": {}, "status": "failed", "colour": 1}', "colour"),
    ],
)
def test_a_broken_line_in_the_middle_is_an_error(tmp_path, record, line, says):
    path = tmp_path / "runs.jsonl"
    append_record(path, record)
    path.write_bytes(line + b"\n\n" + path.read_bytes())
    with pytest.raises(RecordError, match=f"runs.jsonl, line 1: .*{says}"):
        read_records(path)


def test_a_last_line_that_is_json_but_no_record_is_an_error(tmp_path, record):
    path = tmp_path / "runs.jsonl"
    append_record(path, record)
    path.write_bytes(path.read_bytes() + b'{"run_id": 3}\n')
    with pytest.raises(RecordError, match="line 2"):
        read_records(path)


def test_no_file_and_empty_file(tmp_path):
    with pytest.raises(RecordError, match=r"ghost\.jsonl"):
        read_records(tmp_path / "ghost.jsonl")
    (tmp_path / "empty.jsonl").write_text("\n \n")
    assert read_records(tmp_path / "empty.jsonl") == ([], [])


def test_what_json_lacks(tmp_path, record):
    path = tmp_path / "runs.jsonl"
    run = record.tasks[0].model_copy(update={"outputs": {"mean": float("nan"), "s": "\ud800", "t": (1, float("inf"))}})
    append_record(path, record.model_copy(update={"tasks": (run,)}))
    (back,), _ = read_records(path)
    assert back.tasks[0].outputs == {"mean": None, "s": "\ud800", "t": [1, None]}
    bad = record.model_copy(update={"planner": {"object": object()}})
    with pytest.raises(RecordError, match="run-1"):
        append_record(path, bad)
    assert len(read_records(path)[0]) == 1


def test_the_training_json(record):
    assert training_example(record) == {
        "instruction": "resize it, read it, archive both",
        "targets": {
            "model_selections": ["pillow", "pillow-2", "ocr", "zip"],
            "task_types": ["make_image", "resize", "read_text", "archive"],
            "dependencies": [[0, 1], [0, 2], [1, 3], [2, 3]],
        },
        "rewards": {"success": 0.5, "cost": -0.045, "latency": -1.2, "quality": 0.5},
    }
    judged = training_example(record.model_copy(update={"accepted": 0.5}))
    assert judged["rewards"] == {"success": 0.25, "cost": -0.045, "latency": -1.2, "quality": 0.5, "accepted": 0.5}
    unmeasured = record.model_copy(
        update={"tasks": tuple(run.model_copy(update={"quality": None}) for run in record.tasks)}
    )
    assert training_example(unmeasured)["rewards"] == {"success": 0.5, "cost": -0.045, "latency": -1.2}
    json.dumps(training_example(record))


def test_the_training_json_puts_producers_first(record, diamond):
    backwards = diamond.model_copy(update={"tasks": diamond.tasks[::-1]})
    example = training_example(record.model_copy(update={"workflow": backwards}))
    assert example["targets"]["task_types"][0] == "make_image"
    assert all(source < target for source, target in example["targets"]["dependencies"])


def test_rewards_at_the_ends(record, diamond):
    done = tuple(TaskRun(task=t.id, task_type=t.task_type, status="succeeded") for t in diamond.tasks)
    assert training_example(record.model_copy(update={"tasks": done}))["rewards"]["success"] == 1.0
    nothing = RunRecord(run_id="x", workflow=Workflow(), status="failed")
    assert training_example(nothing)["rewards"] == {"success": 0.0, "cost": 0.0, "latency": 0.0}


def test_a_recorded_cycle_teaches_nothing():
    loop = Workflow(tasks=(Task(id="a", task_type="x", depends_on=("a",)),))
    with pytest.raises(WorkflowError, match="cycle"):
        training_example(RunRecord(run_id="x", workflow=loop, status="failed"))
