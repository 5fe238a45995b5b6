"""What a run is asked to do: everything that is settled before its first task starts."""

from __future__ import annotations

import dataclasses
import datetime
import pathlib
from collections.abc import Mapping
from typing import Any

from orchestai_jax.config import Preference
from orchestai_jax.execution.gates import Gates
from orchestai_jax.execution.journal import JournalHeader
from orchestai_jax.execution.policies import RunPolicies
from orchestai_jax.workers import Worker
from orchestai_jax.workflow import Attempt, Catalog, TaskRun, Workflow


@dataclasses.dataclass(frozen=True)
class RunOrder:
    """One run: what, with whom, where, under which rules, and what of it is done already."""

    run_id: str
    created: datetime.datetime
    workflow: Workflow
    catalog: Catalog
    workers: Mapping[str, Worker]
    root: pathlib.Path
    output_folder: pathlib.Path
    max_concurrency: int
    policies: RunPolicies
    planner: Mapping[str, Any]
    preference: Preference | None
    gates: Gates | None = None
    """Shared with other runs; None for a run of its own."""
    finished: Mapping[str, TaskRun] = dataclasses.field(default_factory=dict)
    """Of a resumption: the tasks that are not run again."""
    failed_calls: Mapping[str, tuple[Attempt, ...]] = dataclasses.field(default_factory=dict)
    """Of a resumption: the calls of each task that have failed before."""
    clock_s: float = 0.0
    """Of a resumption: the seconds that the run has had."""
    resumed: int = 0
    """How often it was resumed, this time among them."""
    fsync: bool = False
    """Whether journal and record are to outlive a loss of power."""

    def header(self) -> JournalHeader:
        """What a resumption needs of it. Of the catalog only what the plan's tasks may use."""
        wanted = {task.task_type for task in self.workflow.tasks}
        wanted |= {name for w in self.catalog.workers if wanted & set(w.task_types) for name in w.task_types}
        return JournalHeader.model_construct(  # of values that are checked
            run_id=self.run_id,
            created=self.created.isoformat(timespec="milliseconds"),
            root=str(self.root),
            output_folder=str(self.output_folder),
            max_concurrency=self.max_concurrency,
            policies=self.policies,
            planner=dict(self.planner),
            fsync=self.fsync,
            preference=None if self.preference is None else self.preference.weights,
            workflow=self.workflow,
            catalog=Catalog.model_construct(  # a part of one that holds together does so too
                name=self.catalog.name,
                task_types=tuple(t for t in self.catalog.task_types if t.id in wanted),
                workers=tuple(w for w in self.catalog.workers if wanted.issuperset(w.task_types)),
                links=(),
            ),
        )

    def settings(self) -> dict[str, Any]:
        """The limits and policies, for the record; policies as far as they differ from the defaults."""
        policies = self.policies.model_dump(mode="json", exclude_defaults=True)
        return {"max_concurrency": self.max_concurrency, **({"policies": policies} if policies else {})}
