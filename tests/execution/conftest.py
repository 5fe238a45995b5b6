"""Workers, catalogs and workflows to run, and a loop whose time passes at once."""

from __future__ import annotations

import asyncio
import dataclasses
import pathlib
import selectors
import sys
import types
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest

from orchestai_jax.config import Preference
from orchestai_jax.execution import RunPolicies, execute, resume
from orchestai_jax.workers import Output, WorkerContext, WorkerError
from orchestai_jax.workflow import (
    Catalog,
    Parameter,
    Port,
    Reference,
    RunRecord,
    Task,
    TaskType,
    Value,
    WorkerLimits,
    WorkerSpec,
    Workflow,
)

sys.path.insert(0, str(pathlib.Path(__file__).parent))  # the tests here share scripted_worker.py, paper_planning.py

Behaviour = Callable[[TaskType, Mapping[str, Any], WorkerContext], Awaitable[Any]]

STEP = TaskType(
    id="step",
    inputs=(Port(name="a", type="any", required=False), Port(name="b", type="any", required=False)),
    outputs=(Port(name="value", type="any"),),
    parameters=(Parameter(name="label", type="string"), Parameter(name="target", type="path")),
)
SHRINK = TaskType(id="shrink", inputs=(Port(name="image", type="image"),), outputs=(Port(name="image", type="image"),))
READ = TaskType(
    id="read",
    inputs=(Port(name="text", type="text"),),
    outputs=(Port(name="count", type="number"), Port(name="note", type="text", required=False)),
)


@dataclasses.dataclass
class FakeWorker:
    """A worker that behaves as told and remembers what it was asked."""

    spec: WorkerSpec
    behaviour: Behaviour
    calls: list[tuple[str, dict[str, Any]]] = dataclasses.field(default_factory=list)

    async def run(self, task_type: TaskType, arguments: Mapping[str, Any], context: WorkerContext) -> Output:
        self.calls.append((context.task_id, dict(arguments)))
        return await self.behaviour(task_type, arguments, context)


async def echo(task_type: TaskType, arguments: Mapping[str, Any], context: WorkerContext) -> Output:
    """Gives its task's id as every output, after letting others run."""
    await asyncio.sleep(0)
    return Output(values={port.name: context.task_id for port in task_type.outputs})


def fake(behaviour: Behaviour = echo, name: str = "w", limits: WorkerLimits | None = None, **spec: Any) -> FakeWorker:
    task_types = spec.pop("task_types", ("step", "shrink", "read"))
    return FakeWorker(WorkerSpec(id=name, task_types=task_types, limits=limits or WorkerLimits(), **spec), behaviour)


def catalog_of(*workers: FakeWorker) -> Catalog:
    return Catalog(task_types=(STEP, SHRINK, READ), workers=tuple(worker.spec for worker in workers))


def step(name: str, *after: str, worker: str | None = "w", task_type: str = "step", **arguments: Any) -> Task:
    made = {n: a if isinstance(a, Reference) else Value(value=a) for n, a in arguments.items()}
    return Task(id=name, task_type=task_type, worker=worker, depends_on=after, arguments=made)


def plan(*tasks: Task) -> Workflow:
    return Workflow(instruction="do it", tasks=tasks)


class _JumpingSelector(selectors.DefaultSelector):
    """Where the loop would wait for a time, the time is said to have come."""

    jumped = 0.0

    def select(self, timeout: float | None = None) -> Any:
        if timeout is not None and timeout > 0:
            self.jumped += timeout
            timeout = 0
        return super().select(timeout)


class JumpingLoop(asyncio.SelectorEventLoop):
    """A loop in which waiting takes no time: delays, deadlines and rates are tested by its own clock."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.jumped


@pytest.fixture(scope="session")
def make() -> types.SimpleNamespace:
    """`make.step`, `make.plan`, `make.worker`, `make.catalog`: what the tests build runs of."""
    return types.SimpleNamespace(step=step, plan=plan, worker=fake, catalog=catalog_of)


@pytest.fixture(scope="session")
def jumping_loop() -> type[JumpingLoop]:
    """A loop in which waiting takes no time."""
    return JumpingLoop


@pytest.fixture
def perform(tmp_path):
    """Runs a workflow in a fresh root; a test that hangs is stopped by a time far above what any run needs."""

    def run(
        workflow: Workflow,
        *workers: FakeWorker,
        catalog: Catalog | None = None,
        policies: dict[str, Any] | RunPolicies | None = None,
        jump: bool = False,
        **options: Any,
    ) -> RunRecord:
        if isinstance(policies, dict):
            policies = RunPolicies.model_validate(policies)

        async def bounded() -> RunRecord:
            async with asyncio.timeout(1e9 if jump else 30):
                return await execute(
                    workflow,
                    catalog or catalog_of(*workers),
                    {worker.spec.id: worker for worker in workers},
                    policies=policies,
                    **{"root": tmp_path, "output_folder": tmp_path / "out", **options},
                )

        with asyncio.Runner(loop_factory=JumpingLoop if jump else None) as runner:
            return runner.run(bounded())

    return run


@pytest.fixture(scope="session")
def again():
    """Resumes a run: `again(run_id, *workers, folder=…)`; a test that hangs is stopped."""

    def resumed(run_id: str, *workers: FakeWorker, folder: pathlib.Path, **options: Any) -> RunRecord:
        async def bounded() -> RunRecord:
            async with asyncio.timeout(30):
                return await resume(run_id, {w.spec.id: w for w in workers}, journal=folder, **options)

        return asyncio.run(bounded())

    return resumed


@pytest.fixture
def broken_off(make, perform, tmp_path):
    """A run of six tasks in which `bad` fails and `stop` ends the run with an error of the listener's."""

    async def work(task_type, arguments, context):
        if context.task_id == "bad":
            raise WorkerError("first time")
        return Output(values={"value": [context.task_id, arguments.get("a")]}, cost=0.5, tokens=2)

    def listen(event):
        if event.kind == "failed":
            raise RuntimeError("stop here")

    worker = make.worker(work)
    workflow = make.plan(
        make.step("one"),
        make.step("two", "one", a=Reference(task="one", output="value")),
        make.step("bad", "two"),
        make.step("next", "bad", "two", a=Reference(task="two", output="value")),
    )
    with pytest.raises(RuntimeError, match="stop here"):
        perform(
            workflow,
            worker,
            journal=tmp_path / "journals",
            run_id="run-1",
            on_event=listen,
            planner_info={"checkpoint": "c"},
            preference=Preference.PRESETS["fast"],
            policies={"fallback_workers": 1},
            max_concurrency=3,
        )
    return tmp_path / "journals"
