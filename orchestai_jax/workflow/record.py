"""What became of an executed workflow, and what training learns from it. `record_file` keeps records in files."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from orchestai_jax.workflow.ordering import predecessors, topological_order
from orchestai_jax.workflow.workflow import Workflow

RECORD_VERSION = 2
"""Version 2 added `attempts` to tasks, and `tokens`, `resumed` and `settings` to runs; both versions are read."""

TaskStatus = Literal["succeeded", "failed", "skipped", "cancelled"]
RunStatus = Literal["succeeded", "partial", "failed", "cancelled"]


class RecordError(ValueError):
    """A run record that cannot be written or read. The message names the file and line."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class Attempt(_Frozen):
    """One call of a worker for a task."""

    worker: str
    started_s: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Seconds from the start of the run to the start of the call."""
    duration_s: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    cost: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """US dollars."""
    tokens: int = Field(default=0, ge=0)
    error: str | None = None
    """Why it failed; None for the call that succeeded."""


class TaskRun(_Frozen):
    """What became of one task of a workflow."""

    task: str
    """The task's id in the workflow."""
    task_type: str
    worker: str | None = None
    """The worker that did it, which may be another than the one planned."""
    status: TaskStatus
    started_s: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Seconds from the start of the run to the start of the task."""
    duration_s: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Seconds from the start of the task to its end, waits between attempts among them."""
    cost: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """US dollars, of all attempts."""
    tokens: int = Field(default=0, ge=0)
    """Tokens of language models, of all attempts."""
    quality: float | None = Field(default=None, ge=0, le=1)
    """Measured quality of the outputs, where something measured it."""
    error: str | None = None
    outputs: dict[str, Any] = {}
    """Output name to value: JSON, files as their paths."""
    attempts: tuple[Attempt, ...] = ()
    """Every call in order, the last among them. Empty where the entry itself says it all: one call, or none."""

    @property
    def calls(self) -> tuple[Attempt, ...]:
        """Every call of a worker in order; empty for a task that never ran."""
        if self.attempts or self.worker is None or self.status in ("skipped", "cancelled"):
            return self.attempts
        only = Attempt(
            worker=self.worker,
            started_s=self.started_s,
            duration_s=self.duration_s,
            cost=self.cost,
            tokens=self.tokens,
            error=self.error,
        )
        return (only,)


class RunRecord(_Frozen):
    """One execution of one workflow."""

    schema_version: Literal[1, 2] = RECORD_VERSION
    run_id: str = Field(min_length=1)
    instruction: str = ""
    created: str = ""
    """When the run began: ISO 8601, UTC."""
    planner: dict[str, Any] = {}
    """Which planner made the workflow: name, checkpoint, version, as far as it says. Where a language model could be
    asked, `hybrid` holds which plan was taken, why, and both plans (`execution.HybridPlan.as_dict`); of a run that was
    collected, `candidate` its place among the plans tried for the instruction."""
    preference: tuple[float, float, float] | None = None
    """Weights of (success, cost, latency) that the workers were chosen under."""
    workflow: Workflow
    tasks: tuple[TaskRun, ...] = ()
    status: RunStatus
    duration_s: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Seconds that the engine was at work on it; the time between a kill and the resumption is not in it."""
    cost: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """US dollars, of all tasks."""
    tokens: int = Field(default=0, ge=0)
    """Tokens of language models, of all tasks."""
    resumed: int = Field(default=0, ge=0)
    """How often the run was resumed."""
    settings: dict[str, Any] = {}
    """The limits and policies that it ran under."""
    accepted: float | None = Field(default=None, ge=0, le=1)
    """How far the results are what was asked for, where somebody or something judged them: 0 not at all, 1 wholly."""
    judge_error: str | None = None
    """Why whoever was to judge the results gave no verdict: he broke, or gave what is none."""


def training_example(record: RunRecord) -> dict[str, Any]:
    """The training JSON of a record: `{"instruction", "targets", "rewards"}`, tasks in topological order.

    `targets` holds `task_types` and `model_selections` (the worker that did the task; the planned one where it never
    ran), one entry a task, and `dependencies`, pairs [producer, consumer] of positions in them. `rewards` holds
    `success` (share of the tasks that succeeded), `cost` (minus US dollars) and `latency` (minus seconds). A run whose
    judge failed has success 0: that it went through does not show that it did what was asked.
    Raises WorkflowError where the recorded workflow is not a DAG.
    """
    order = topological_order(record.workflow)
    tasks = {task.id: task for task in record.workflow.tasks}
    runs = {run.task: run for run in record.tasks}
    position = {task_id: i for i, task_id in enumerate(order)}
    done = sum(run.status == "succeeded" for task_id, run in runs.items() if task_id in tasks)
    success = done / len(order) if order else float(record.status == "succeeded")
    rewards = {"success": success, "cost": 0.0 - record.cost, "latency": 0.0 - record.duration_s}
    if record.judge_error is not None:
        rewards["success"] = 0.0
    elif record.accepted is not None:
        rewards |= {"success": success * record.accepted, "accepted": record.accepted}
    qualities = [run.quality for run in record.tasks if run.quality is not None]
    if qualities:
        rewards["quality"] = sum(qualities) / len(qualities)

    def worker(task_id: str) -> str | None:
        ran = runs[task_id].worker if task_id in runs else None
        return tasks[task_id].worker if ran is None else ran

    return {
        "instruction": record.instruction or record.workflow.instruction,
        "targets": {
            "model_selections": [worker(task_id) for task_id in order],
            "task_types": [tasks[task_id].task_type for task_id in order],
            "dependencies": sorted(
                [position[producer], position[task_id]]
                for task_id in order
                for producer in predecessors(tasks[task_id])
            ),
        },
        "rewards": rewards,
    }
