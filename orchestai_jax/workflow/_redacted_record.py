"""A run record without the secrets that its texts may hold."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from orchestai_jax.config.redaction import MASK
from orchestai_jax.workflow.record import RunRecord, TaskRun
from orchestai_jax.workflow.workflow import Task, Value, Workflow


def holds_secret(line: bytes, secrets: Sequence[str]) -> bool:
    """Whether a line of JSON holds one of the secrets, as it is or with JSON's escapes."""
    return any(
        form in line
        for secret in secrets
        for form in {
            secret.encode(errors="surrogatepass"),
            json.dumps(secret)[1:-1].encode(),
            json.dumps(secret, ensure_ascii=False)[1:-1].encode(errors="surrogatepass"),
        }
    )


def redacted(record: RunRecord, secrets: Sequence[str]) -> RunRecord:
    """The record with the secrets (longest first) masked in all that people and workers wrote.

    Ids, task types, workers' names and states stay as they are, so that the record still holds together.
    """
    return _Mask(secrets).record(record)


class _Mask:
    def __init__(self, secrets: Sequence[str]) -> None:
        self._secrets = secrets

    def record(self, record: RunRecord) -> RunRecord:
        return record.model_copy(
            update={
                "instruction": self.text(record.instruction),
                "planner": self.value(record.planner),
                "settings": self.value(record.settings),
                "workflow": self.workflow(record.workflow),
                "tasks": tuple(map(self.run, record.tasks)),
            }
        )

    def text(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return text

    def value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.value(key): self.value(entry) for key, entry in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(entry) for entry in value]
        return value

    def workflow(self, workflow: Workflow) -> Workflow:
        return workflow.model_copy(
            update={
                "instruction": self.text(workflow.instruction),
                "notes": tuple(map(self.text, workflow.notes)),
                "tasks": tuple(map(self.task, workflow.tasks)),
            }
        )

    def task(self, task: Task) -> Task:
        arguments = {
            name: Value(value=self.value(argument.value)) if isinstance(argument, Value) else argument
            for name, argument in task.arguments.items()
        }
        return task.model_copy(update={"arguments": arguments})

    def run(self, run: TaskRun) -> TaskRun:
        attempts = tuple(
            attempt if attempt.error is None else attempt.model_copy(update={"error": self.text(attempt.error)})
            for attempt in run.attempts
        )
        error = None if run.error is None else self.text(run.error)
        return run.model_copy(update={"outputs": self.value(run.outputs), "error": error, "attempts": attempts})
