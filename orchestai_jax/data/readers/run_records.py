"""Reader of run records: what ran becomes what the planner learns from."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

from orchestai_jax.data.data_error import DataError
from orchestai_jax.data.located_json import Located
from orchestai_jax.data.readers.graph_order import make_sample
from orchestai_jax.data.sample import PlanningSample
from orchestai_jax.workflow import (
    Catalog,
    RunRecord,
    Value,
    WorkflowError,
    latest_records,
    read_records,
    topological_order,
    training_example,
)

_log = logging.getLogger(__name__)


def read_run_records(path: str | os.PathLike[str], catalog: Catalog | None = None) -> list[PlanningSample]:
    """Reads run records (JSON lines), one sample a run; failed runs too, their `rewards` say so; of a run that
    was resumed the last record.

    Workers are those that did the tasks (those planned where a task never ran). A task's complexity is its time as a
    share of the slowest task type's mean time in the file, at most 1; a task that did not succeed counts with its
    type's mean; where a type never succeeded, the sample has no complexities. What the record reader had to pass over
    (a torn last line) is logged as a warning.

    Raises:
      DataError: the file cannot be read, is empty, or holds a broken line or a workflow that is no DAG (it is named).
    """
    del catalog  # records name outputs themselves
    try:
        records, problems = read_records(path)
    except ValueError as error:
        raise DataError(str(error)) from error
    for problem in problems:
        _log.warning("%s", problem)
    records = latest_records(records)
    if not records:
        raise DataError(f"{path}: holds no run record")
    means = _mean_durations(records)
    return [_sample(Located(None, f"{path}: run `{record.run_id}`"), record, means) for record in records]


def _mean_durations(records: Sequence[RunRecord]) -> dict[str, float]:
    """Task type → mean duration in seconds over the tasks that succeeded."""
    durations: dict[str, list[float]] = {}
    for record in records:
        for run in record.tasks:
            if run.status == "succeeded":
                durations.setdefault(run.task_type, []).append(run.duration_s)
    return {task_type: sum(times) / len(times) for task_type, times in durations.items()}


def _sample(entry: Located, record: RunRecord, means: dict[str, float]) -> PlanningSample:
    try:
        example = training_example(record)
        order = topological_order(record.workflow)
    except WorkflowError as error:
        raise entry.error(str(error)) from error
    targets = example["targets"]
    position = {task_id: i for i, task_id in enumerate(order)}
    tasks = [record.workflow.task(task_id) for task_id in order]
    arguments = tuple(
        {
            name: {"value": argument.value}
            if isinstance(argument, Value)
            else {"task": position[argument.task], "output": argument.output}
            for name, argument in task.arguments.items()
        }
        for task in tasks
    )
    return make_sample(
        entry,
        "workflow",
        id=record.run_id,
        instruction=example["instruction"],
        task_types=targets["task_types"],
        dependencies=[(source, target) for source, target in targets["dependencies"]],
        workers=tuple(targets["model_selections"]) if any(targets["model_selections"]) else None,
        arguments=arguments,
        complexities=_complexities(record, order, means),
        preference=record.preference,
        rewards=example["rewards"],
    )


def _complexities(record: RunRecord, order: Sequence[str], means: dict[str, float]) -> tuple[float, ...] | None:
    slowest = max(means.values(), default=0.0)
    if slowest <= 0:
        return None
    measured = {run.task: run.duration_s for run in record.tasks if run.status == "succeeded"}
    times = [measured.get(task_id, means.get(record.workflow.task(task_id).task_type)) for task_id in order]
    return tuple(min(1.0, t / slowest) for t in times if t is not None) if None not in times else None
