"""What a run looks like while it goes on and when it is over: a live tree in a terminal, plain lines elsewhere."""

from __future__ import annotations

import pathlib
import time
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text
from rich.tree import Tree

from orchestai_jax.cli.task_tree import printable, shown_value, task_name, task_tree
from orchestai_jax.execution import Event
from orchestai_jax.workflow import RunRecord, Task, TaskRun, Workflow

_MARKS = {
    "succeeded": ("done", "green"),
    "failed": ("failed", "bold red"),
    "skipped": ("skipped", "yellow"),
    "cancelled": ("cancelled", "yellow"),
    "partial": ("partly done", "yellow"),
}


class PlainLines:
    """Prints one line a change of state, for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def __enter__(self) -> PlainLines:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is held."""

    def __call__(self, event: Event) -> None:
        """Print the event."""
        if event.task is None or event.kind == "chunk":
            return
        line = Text.assemble(f"{event.at_s:7.2f} s  {event.kind:<9}  ", task_name(event.task))
        if event.task_run is not None and event.kind == "finished":
            line.append(f"  in {seconds(event.task_run.duration_s)}")
        elif event.task_run is not None and event.task_run.error:
            line.append(f"  {printable(event.task_run.error, 500)}")
        elif event.kind in ("retried", "rerouted"):
            line.append(f"  {what_next(event)}")
        self._console.print(line)


class LiveTree:
    """Redraws the workflow's tree several times a second: states, elapsed time, text as it comes, outputs, cost."""

    def __init__(self, console: Console, root: pathlib.Path) -> None:
        self._root = root
        self._workflow: Workflow | None = None
        self._began = time.monotonic()
        self._started: dict[str, float] = {}
        self._ended: dict[str, TaskRun] = {}
        self._kept: set[str] = set()
        self._next: dict[str, str] = {}
        self._text: dict[str, str] = {}
        self._live = Live(console=console, get_renderable=self._draw, refresh_per_second=8)

    def __enter__(self) -> LiveTree:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def __call__(self, event: Event) -> None:
        """Take the event into the drawing."""
        self._workflow = event.workflow
        if event.task is None:
            return
        task_id = event.task.id
        if event.kind == "started":
            self._started[task_id] = time.monotonic()
        elif event.kind == "chunk":
            self._text[task_id] = (self._text.get(task_id, "") + (event.text or ""))[-200:]
        elif event.kind in ("retried", "rerouted"):
            self._next[task_id] = what_next(event)
            self._text.pop(task_id, None)
        elif event.task_run is not None:
            self._ended[task_id] = event.task_run
            if event.kind == "kept":
                self._kept.add(task_id)

    def _draw(self) -> RenderableType:
        if self._workflow is None:
            return Text("planning ...", style="dim")
        return Group(task_tree(self._workflow, self._label, self._details), self._totals(self._workflow))

    def _totals(self, workflow: Workflow) -> Text:
        done = sum(run.status == "succeeded" for run in self._ended.values())
        cost = sum(run.cost for run in self._ended.values())
        line = f"{done} of {len(workflow.tasks)} tasks, {seconds(time.monotonic() - self._began)}, cost {dollars(cost)}"
        return Text(line, style="dim")

    def _label(self, task: Task) -> Text:
        ended, started = self._ended.get(task.id), self._started.get(task.id)
        if ended is not None:
            line = ended_label(task, ended)
            return line.append("  (before)", style="dim") if task.id in self._kept else line
        if started is not None:
            line = task_name(task).append(f"  running {seconds(time.monotonic() - started)}", style="blue")
            return line.append(f"  {self._next[task.id]}", style="yellow") if task.id in self._next else line
        return task_name(task).append("  waiting", style="dim")

    def _details(self, task: Task) -> list[Text]:
        ended = self._ended.get(task.id)
        if ended is not None:
            return outcome_lines(ended, self._root)
        text = self._text.get(task.id)
        return [Text(printable(text[-100:]), style="dim")] if text else []


def what_next(event: Event) -> str:
    """What comes after a call that failed: `busy; again in 500 ms`, `cannot; now by textrank`."""
    why = "" if event.attempt is None else printable(event.attempt.error or "", 200) + "; "
    if event.kind == "rerouted":
        return f"{why}now by {printable(event.worker or '')}"
    return f"{why}again in {seconds(event.delay_s)}"


def ended_label(task: Task, run: TaskRun) -> Text:
    """The line of a task that has ended: `t1 summarize_text  by textrank  done in 12 ms`."""
    word, style = _MARKS[run.status]
    line = task_name(task).append(f"  {word}", style=style)
    if run.duration_s > 0:
        line.append(f" in {seconds(run.duration_s)}", style="dim")
    if run.worker is not None and run.worker != task.worker:
        line.append(f" by {printable(run.worker)} in its place", style="yellow")
    if len(run.attempts) > 1:
        line.append(f" after {len(run.attempts)} attempts", style="dim")
    return line


def outcome_lines(run: TaskRun, root: pathlib.Path | None = None) -> list[Text]:
    """A line for each output of a task, and one for its error. Outputs that are files under `root` show their path."""
    lines = []
    for name, value in run.outputs.items():
        shown = shown_value(value)
        if root is not None and isinstance(value, str) and is_file(root, value):
            shown = str(root / value)
        lines.append(Text.assemble((f"{printable(name)}: ", "dim"), printable(shown, 200)))
    if run.error:
        lines.append(Text(printable(run.error, 500), style=_MARKS[run.status][1]))
    return lines


def is_file(root: pathlib.Path, value: str) -> bool:
    """Whether an output is the path of a file rather than a text."""
    if not value or len(value) > 1024 or not value.isprintable():
        return False
    try:
        return (root / value).is_file()
    except OSError:
        return False


def record_tree(record: RunRecord, root: pathlib.Path | None = None) -> Tree:
    """A run that is over, as a tree with what became of every task."""
    runs = {run.task: run for run in record.tasks}

    def label(task: Task) -> Text:
        run = runs.get(task.id)  # records are read from files, which may leave a task out
        return task_name(task).append("  no result", style="yellow") if run is None else ended_label(task, run)

    def details(task: Task) -> list[Text]:
        run = runs.get(task.id)
        return [] if run is None else outcome_lines(run, root)

    return task_tree(record.workflow, label, details)


def totals(record: RunRecord) -> Text:
    """`partly done: 2 of 3 tasks in 1.2 s, cost $0.000012, run 20250131-120000-1f3a9c`."""
    word, style = _MARKS[record.status]
    succeeded = sum(run.status == "succeeded" for run in record.tasks)
    return Text.assemble(
        (word, style),
        f": {succeeded} of {len(record.tasks)} tasks in {seconds(record.duration_s)}, cost {dollars(record.cost)}, "
        f"run {printable(record.run_id)}",
    )


def dollars(cost: float) -> str:
    """A cost for people: local tools cost millionths of a dollar, language models cents."""
    return f"${cost:.6f}" if 0 < cost < 0.01 else f"${cost:.2f}"


def seconds(duration: float) -> str:
    """A duration for people: `12 ms`, `3.4 s`, `2 min 05 s`."""
    if duration < 1:
        return f"{duration * 1000:.0f} ms"
    if duration < 60:
        return f"{duration:.1f} s"
    return f"{int(duration // 60)} min {int(duration % 60):02d} s"
