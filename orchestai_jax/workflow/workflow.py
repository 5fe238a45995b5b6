"""The workflow: a DAG of tasks, each with its task type, worker and arguments."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

SCHEMA_VERSION = 1


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class Value(_Frozen):
    """An argument that is written out: `{"value": 3}`."""

    value: Any


class Reference(_Frozen):
    """An argument that is another task's output: `{"task": "t1", "output": "image"}`."""

    task: str
    output: str


def _argument_kind(argument: Any) -> str:
    if isinstance(argument, Reference):
        return "reference"
    return "reference" if isinstance(argument, dict) and "value" not in argument else "value"


Argument = Annotated[
    Annotated[Value, Tag("value")] | Annotated[Reference, Tag("reference")], Discriminator(_argument_kind)
]


class Task(_Frozen):
    """One sub-task. `depends_on` names the tasks that must be done first, those it references among them."""

    id: str = Field(min_length=1)
    task_type: str
    worker: str | None = None
    alternatives: tuple[str, ...] = ()
    """Other workers that can do it, best first as whoever planned it ranks them; asked when `worker` has failed."""
    arguments: dict[str, Argument] = {}
    depends_on: tuple[str, ...] = ()
    confidence: float | None = Field(default=None, ge=0, le=1)
    complexity: float | None = Field(default=None, ge=0, le=1)
    """Estimated complexity: expected share of the hardest known task's time (0 easy, 1 hardest)."""


class Workflow(_Frozen):
    """A plan for an instruction. Build it anyhow; `validate_workflow` says everything that is wrong with it."""

    schema_version: Literal[1] = SCHEMA_VERSION
    instruction: str = ""
    tasks: tuple[Task, ...] = ()
    confidence: float | None = Field(default=None, ge=0, le=1)
    notes: tuple[str, ...] = ()
    """What the planner has to say about the plan (nothing fits, input cut, argument left open, …)."""

    def task(self, task_id: str) -> Task:
        """Look a task up by id. Raises KeyError naming it."""
        for task in self.tasks:
            if task.id == task_id:
                return task
        raise KeyError(task_id)

    @property
    def edges(self) -> tuple[tuple[str, str], ...]:
        """Every (producer id, consumer id), in task order."""
        return tuple((source, task.id) for task in self.tasks for source in task.depends_on)
