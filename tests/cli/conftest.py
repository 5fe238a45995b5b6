"""The command with a planner made of paper: what is tested here is the command, not the planning."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import Any

import pytest
from typer.testing import CliRunner

from orchestai_jax.config import InferenceScalingConfig, Preference
from orchestai_jax.planner.attribution import Explanation
from orchestai_jax.quickstart import load_embedded_catalog
from orchestai_jax.workflow import Reference, Task, Value, Workflow

TEXT = "JAX compiles programs. Compiled programs run fast. Plans are programs too. Nothing else is said here.\n" * 5


def tasks(**changes: Any) -> tuple[Task, ...]:
    """Summarize notes.txt, then the keywords of the summary; the statistics of notes.txt beside it."""
    made = (
        Task(
            id="t1",
            task_type="summarize_text",
            worker="summarize_text_lead",
            arguments={"text": Value(value="notes.txt"), "sentences": Value(value=2)},
            confidence=0.75,
        ),
        Task(
            id="t2",
            task_type="extract_keywords",
            worker="extract_keywords_frequency",
            arguments={"text": Reference(task="t1", output="text")},
            depends_on=("t1",),
        ),
        Task(
            id="t3",
            task_type="text_statistics",
            worker="text_statistics_counter",
            arguments={"text": Value(value="notes.txt")},
        ),
    )
    return tuple(task.model_copy(update=changes.get(task.id, {})) for task in made)


class PaperPlanner:
    """Gives one plan for every instruction and remembers what it was asked."""

    asked: tuple[Any, ...] = ()
    plan_tasks = tasks()
    preference = Preference()
    serving: InferenceScalingConfig | None = None

    def __init__(self) -> None:
        self.catalog = load_embedded_catalog()

    @classmethod
    def from_checkpoint(cls, path: pathlib.Path) -> PaperPlanner:
        if (pathlib.Path(path) / "damaged").exists():
            raise ValueError(f"{path}: the checkpoint is damaged: checksum of params differs")
        return cls()

    def plan(self, text: str, catalog: Any = None, preference: Any = None) -> Workflow:
        type(self).asked = (text, catalog, preference)
        return Workflow(instruction=text, tasks=self.plan_tasks, confidence=0.5, notes=("guessed the [bold] width",))

    def candidates(self, text: str, n: int, catalog: Any = None, preference: Any = None) -> list[Workflow]:
        """The plan, and one whose first task lacks nothing."""
        first = self.plan(text, catalog, preference)
        return [first, first.model_copy(update={"tasks": tasks()[:1]})][:n]

    def explain(self, text: str, catalog: Any = None, preference: Any = None) -> Explanation:
        """`notes.txt` speaks for t1 and its file, the first word against it."""
        workflow = self.plan(text, catalog, preference)
        words = tuple(text.split())
        scores = tuple(2.5 if word == "notes.txt" else -0.5 * (i == 0) for i, word in enumerate(words))
        nothing = (0.0,) * len(words)
        return Explanation(
            workflow,
            words,
            {"t1": scores, "t2": nothing, "t3": nothing},
            {("t1", "t2"): scores},
            {("t1", "text"): tuple(score > 0 for score in scores)},
        )


@dataclasses.dataclass
class Command:
    """Runs `orchestai` in this process, in a folder with notes.txt and a planner folder."""

    folder: pathlib.Path
    planner: type[PaperPlanner]

    def __call__(self, *arguments: str, stdin: bytes | None = None, code: int | None = 0) -> Any:
        from orchestai_jax.cli import build_app

        result = CliRunner().invoke(build_app(), list(arguments), input=stdin)
        if code is not None:
            assert result.exit_code == code, (result.exit_code, result.stdout, result.stderr, result.exception)
        return result

    def error(self, *arguments: str, stdin: bytes | None = None, code: int = 2) -> str:
        """The one line on stderr of a command that must be refused."""
        result = self(*arguments, stdin=stdin, code=code)
        assert result.stdout == ""
        assert result.stderr.count("\n") == 1, result.stderr
        assert "Traceback" not in result.stderr
        return result.stderr.strip()

    def json(self, *arguments: str, code: int = 0) -> Any:
        return json.loads(self(*arguments, code=code).stdout)


@pytest.fixture
def command(tmp_path, monkeypatch) -> Command:
    import orchestai_jax.planner

    planner = type("Planner", (PaperPlanner,), {})
    monkeypatch.setattr(orchestai_jax.planner, "Planner", planner, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)  # pytest-xdist's workers have one: lines would be wrapped at 80
    (tmp_path / "notes.txt").write_text(TEXT, encoding="utf-8")
    (tmp_path / "planner").mkdir()
    return Command(tmp_path, planner)


@pytest.fixture
def other_tasks():
    """Makes the tasks of the paper planner with changes: `other_tasks(t1={"worker": None})`."""
    return tasks
