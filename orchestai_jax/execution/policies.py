"""How a run deals with what goes wrong and what it may use: frozen, validated, a line of doc a field."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from orchestai_jax.config import ConfigError

FailureKind = Literal["transient", "timeout", "worker", "malformed", "crash", "resting"]
"""Why a call of a worker failed: the worker says that it may succeed later; it took longer than its time limit; it
says that it cannot do the task; its output is not what the task type declares; it broke with an error of its own; its
circuit breaker is open."""


class _Policy(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class RetryPolicy(_Policy):
    """How often a worker is called again for the same task, and after how long."""

    attempts: int = Field(default=3, ge=1, le=100)
    """Most calls of one worker for one task, the first among them."""
    first_delay_s: float = Field(default=0.5, ge=0)
    """Seconds before the second call."""
    factor: float = Field(default=2.0, ge=1)
    """What the delay is multiplied by from one call to the next."""
    max_delay_s: float = Field(default=30.0, ge=0)
    """Longest delay, jitter left aside. A service that asks for a longer one gets it, up to `max_asked_delay_s`."""
    max_asked_delay_s: float = Field(default=120.0, ge=0)
    """Longest time that a service is left alone for when it asks for that; one that asks for more is not called again,
    and the task falls to another worker."""
    jitter_s: float = Field(default=0.25, ge=0)
    """Up to so many seconds, drawn evenly, are added to each delay, so that tasks do not come back all at once."""
    errors: tuple[FailureKind, ...] = ("transient", "resting")
    """The kinds of failure after which the worker is called again."""


class RatePolicy(_Policy):
    """How much a worker may be asked for in a minute; a burst of up to a minute's worth may come at once."""

    requests_per_minute: float | None = Field(default=None, ge=1)
    """Calls a minute (null = no limit)."""
    tokens_per_minute: float | None = Field(default=None, ge=1)
    """Tokens a minute (null = no limit). What a call will use is not known before it: `tokens_per_call` is taken in
    advance, and what it used beyond that afterwards."""
    tokens_per_call: int = Field(default=0, ge=0)
    """Tokens that a call is expected to use."""


class BreakerPolicy(_Policy):
    """When a worker that keeps failing is left alone. Only `transient`, `timeout` and `crash` count as failures."""

    failures: int = Field(default=5, ge=1)
    """Failures in a row that open the breaker: the worker is then not called, its tasks fall to others."""
    rest_s: float = Field(default=30.0, gt=0)
    """Seconds that it stays open. Then one call is let through: its success closes it, its failure opens it anew."""


class WorkerPolicy(_Policy):
    """How one worker (or one task) is treated."""

    retry: RetryPolicy = RetryPolicy()
    """Further calls after a failure."""
    timeout_s: float | None = Field(default=None, gt=0)
    """Seconds that one call may take, beside the worker's own limit (null = no limit of the policy's)."""
    rate: RatePolicy | None = None
    """Most calls and tokens a minute (null = no limit). A worker's only, not a task's."""
    breaker: BreakerPolicy | None = None
    """When the worker is left alone (null = never). A worker's only, not a task's."""


class BudgetPolicy(_Policy):
    """What a whole run may use. What has not started when it is used up is skipped; results there are stay."""

    cost: float | None = Field(default=None, ge=0)
    """US dollars (null = no limit). A task starts only where what is spent, what the running ones are expected to
    cost and what it is itself expected to cost stay within it."""
    deadline_s: float | None = Field(default=None, gt=0)
    """Seconds from the run's start, after which running tasks are stopped (null = no limit)."""


class RunPolicies(_Policy):
    """Everything that a run is governed by beside the number of tasks at once."""

    default: WorkerPolicy = WorkerPolicy()
    """For every worker and task that has nothing else."""
    workers: dict[str, WorkerPolicy] = {}
    """By worker id. The fields that are given replace those of `default`."""
    tasks: dict[str, WorkerPolicy] = {}
    """By task id. The fields that are given replace those of the worker."""
    fallback_workers: int = Field(default=2, ge=0)
    """To how many other workers that can do it a task may fall, one after the other, when its own has failed."""
    budget: BudgetPolicy = BudgetPolicy()
    """What the run may use."""
    grace_s: float = Field(default=5.0, ge=0)
    """Seconds that a call has to end when it is told to stop; then it is left behind, with a warning."""

    @model_validator(mode="after")
    def _gates_belong_to_workers(self) -> RunPolicies:
        for task_id, policy in self.tasks.items():
            for field in ("rate", "breaker"):
                if field in policy.model_fields_set:
                    raise ValueError(f"tasks.{task_id}.{field} is given; it belongs to a worker: put it under workers")
        return self

    def of_worker(self, worker_id: str) -> WorkerPolicy:
        """What holds for a worker."""
        return _merged(self.default, self.workers.get(worker_id))

    def of(self, task_id: str, worker_id: str) -> WorkerPolicy:
        """What holds for a task done by a worker."""
        return _merged(self.of_worker(worker_id), self.tasks.get(task_id))


def load_policies(path: str | pathlib.Path, overrides: Mapping[str, Any] | None = None) -> RunPolicies:
    """Policies from a YAML file; `overrides` are fields that replace the file's (sections are merged).

    Raises ConfigError, one line, naming the file and every field that is wrong.
    """
    try:
        fields = yaml.safe_load(pathlib.Path(path).read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(fields, dict):
        raise ConfigError(f"{path}: policies are a mapping with {', '.join(RunPolicies.model_fields)}")
    return parse_policies(_deep_merge(fields, overrides or {}), str(path))


def parse_policies(fields: Mapping[str, Any], source: str = "policies") -> RunPolicies:
    """Policies from plain values; `source` names them in errors. Raises ConfigError, one line."""
    try:
        return RunPolicies.model_validate(fields)
    except ValidationError as error:
        faults = [
            f"{'.'.join(map(str, fault['loc'])) or 'policies'}: {fault['msg'].removeprefix('Value error, ')}"
            for fault in error.errors(include_url=False)
        ]
        raise ConfigError(f"{source}: " + "; ".join(faults[:5])) from None


def _merged(base: WorkerPolicy, over: WorkerPolicy | None) -> WorkerPolicy:
    if over is None:
        return base
    return base.model_copy(update={field: getattr(over, field) for field in over.model_fields_set})


def _deep_merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        inner = merged.get(key)
        merged[key] = _deep_merge(inner, value) if isinstance(inner, Mapping) and isinstance(value, Mapping) else value
    return merged
