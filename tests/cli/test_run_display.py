"""What a run looks like: the live tree at each stage, durations, safe text."""

import io

import pytest
from rich.console import Console

from orchestai_jax.cli.run_display import LiveTree, dollars, record_tree, seconds
from orchestai_jax.cli.task_tree import printable, task_tree
from orchestai_jax.execution import Event
from orchestai_jax.workflow import RunRecord, Task, TaskRun, Workflow

A, B = Task(id="a", task_type="step", worker="w"), Task(id="b", task_type="step", worker="w", depends_on=("a",))
WORKFLOW = Workflow(instruction="two steps", tasks=(A, B))


def drawn(renderable) -> str:
    console = Console(file=io.StringIO(), width=100)
    console.print(renderable)
    return console.file.getvalue()


def test_the_live_tree_follows_the_run(tmp_path):
    (tmp_path / "x.png").write_bytes(b"")
    tree = LiveTree(Console(file=io.StringIO(), force_terminal=True), tmp_path)
    assert "planning" in drawn(tree._draw())
    with tree:
        tree(Event("planned", 0.0, WORKFLOW))
        assert drawn(tree._draw()).count("waiting") == 2
        tree(Event("started", 0.0, WORKFLOW, task=A))
        assert "a step  by w  running" in drawn(tree._draw())
        done = TaskRun(
            task="a", task_type="step", status="succeeded", duration_s=0.5, outputs={"image": "x.png", "n": 3}
        )
        tree(Event("finished", 0.5, WORKFLOW, task=A, task_run=done))
        skipped = TaskRun(task="b", task_type="step", status="skipped", error="because")
        tree(Event("skipped", 0.5, WORKFLOW, task=B, task_run=skipped))
        text = drawn(tree._draw()).replace("\n", "")
    assert "a step  by w  done in 500 ms" in text
    assert f"image: {tmp_path}"[:20] in text
    assert "n: 3" in text
    assert "b step  by w  skipped" in text
    assert "because" in text


def test_a_record_that_lacks_a_task_is_still_drawn():
    record = RunRecord(run_id="r", workflow=WORKFLOW, status="partial", tasks=())
    assert drawn(record_tree(record)).count("no result") == 2


def test_a_task_with_two_predecessors_stands_once():
    c = Task(id="c", task_type="step", depends_on=("a", "b"))
    workflow = Workflow(tasks=(A, B.model_copy(update={"depends_on": ()}), c))
    text = drawn(task_tree(workflow, lambda task: Console().render_str(f"<{task.id}>")))
    assert text.count("<c>") == 1
    assert "<c>  also after a" in text


@pytest.mark.parametrize("duration, shown", [(0, "0 ms"), (0.0123, "12 ms"), (3.44, "3.4 s"), (125.2, "2 min 05 s")])
def test_durations(duration, shown):
    assert seconds(duration) == shown


@pytest.mark.parametrize("cost, shown", [(0, "$0.00"), (0.0000021, "$0.000002"), (0.25, "$0.25")])
def test_costs(cost, shown):
    assert dollars(cost) == shown


@pytest.mark.parametrize(
    "text, shown", [("a\nb\tc", "a b c"), ("\x1b[1m", "\ufffd[1m"), ("x" * 200, "x" * 119 + "…"), ("日本", "日本")]
)
def test_printable(text, shown):
    assert printable(text) == shown
