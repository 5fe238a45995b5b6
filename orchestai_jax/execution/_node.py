"""The tasks of a workflow as the engine holds them: who waits for whom, which worker is asked, what came of it."""

from __future__ import annotations

import asyncio
import dataclasses
import pathlib
import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from orchestai_jax.execution.gates import NO_LIMIT, Gate, Gates, worker_limits
from orchestai_jax.execution.policies import RunPolicies, WorkerPolicy
from orchestai_jax.execution.values import BadValueError, check_value
from orchestai_jax.workers import Output, Worker, WorkerContext, WorkerError
from orchestai_jax.workflow import (
    ANY,
    Attempt,
    Catalog,
    Port,
    Task,
    TaskRun,
    TaskType,
    Value,
    WorkerSpec,
    Workflow,
)
from orchestai_jax.workflow.record import TaskStatus

NOTHING: Mapping[str, Any] = types.MappingProxyType({})
"""No arguments."""
_FIELDS = set(TaskRun.model_fields)


def _trusted_run(fields: dict[str, Any]) -> TaskRun:
    """A TaskRun of values that the engine itself has made, without checking them: checking takes longer than all else.

    It is what `TaskRun(**fields)` gives (a test compares them).
    """
    run = TaskRun.__new__(TaskRun)
    put = object.__setattr__
    put(run, "__dict__", fields)
    put(run, "__pydantic_fields_set__", _FIELDS)
    put(run, "__pydantic_extra__", None)
    put(run, "__pydantic_private__", None)
    return run


@dataclasses.dataclass(slots=True)
class Door:
    """A worker with everything that holds when it is called for a task."""

    worker_id: str
    worker: Worker
    gate: Gate
    policy: WorkerPolicy
    timeout_s: float | None
    """The tighter of the worker's own limit and the policy's."""
    cost: float
    """Expected cost of a call, US dollars."""
    latency: float
    """Expected time of a call, seconds; 0 where nobody has said."""
    plain: bool
    """Whether a call needs nothing but a place: no time limit, rate or breaker."""


class Doors:
    """Makes the doors of a run, one for each worker and, where policies name tasks, for each of those tasks."""

    def __init__(
        self, catalog: Catalog, workers: Mapping[str, Worker], policies: RunPolicies, gates: Gates | None
    ) -> None:
        self._catalog, self._workers, self._policies = catalog, workers, policies
        self._gates = Gates() if gates is None else gates
        self._doors: dict[str | tuple[str, str], Door] = {}

    def door(self, worker_id: str, task_id: str) -> Door:
        """The door of a worker for a task."""
        key = (worker_id, task_id) if task_id in self._policies.tasks else worker_id
        door = self._doors.get(key)
        if door is None:
            door = self._doors[key] = self._make(worker_id, task_id)
        return door

    @property
    def limited(self) -> bool:
        """Whether one of the doors lets only so many in at once."""
        return any(door.gate.free < NO_LIMIT for door in self._doors.values())

    def _make(self, worker_id: str, task_id: str) -> Door:
        if worker_id not in self._workers:  # of a resumed run's finished task, which nobody is asked for any more
            return Door(
                worker_id, _Gone(WorkerSpec(id=worker_id)), Gate(worker_id, None), WorkerPolicy(), None, 0, 0, True
            )
        limits = worker_limits(worker_id, self._catalog, self._workers)
        gate = self._gates.gate(worker_id, limits, self._policies)
        policy = self._policies.of(task_id, worker_id)
        timeout_s = min((t for t in (limits.timeout_s, policy.timeout_s) if t is not None), default=None)
        spec = self._catalog.worker(worker_id) if self._catalog.has_worker(worker_id) else self._workers[worker_id].spec
        return Door(
            worker_id,
            self._workers[worker_id],
            gate,
            policy,
            timeout_s,
            spec.cost,
            spec.latency,
            plain=timeout_s is None and gate.rate is None and gate.breaker is None,
        )


@dataclasses.dataclass(frozen=True)
class _Gone:
    """Stands for a worker that is not here."""

    spec: WorkerSpec

    async def run(self, task_type: TaskType, arguments: Mapping[str, Any], context: WorkerContext) -> Output:
        raise WorkerError(f"worker {self.spec.id} is not here")


class Node:
    """One task in a run."""

    __slots__ = (
        "attempts",
        "begun",
        "dependents",
        "door",
        "duration_s",
        "earlier",
        "error",
        "expected_cost",
        "holds",
        "index",
        "launched",
        "literals",
        "output",
        "permit",
        "rank",
        "references",
        "run",
        "started_s",
        "status",
        "task",
        "task_type",
        "values",
        "waits_for",
    )

    def __init__(self, index: int, task: Task, task_type: TaskType, door: Door) -> None:
        self.index, self.task, self.task_type, self.door = index, task, task_type, door
        self.rank = 0.0
        """The longest way from it to the workflow's end, negative: the longest is the most urgent."""
        self.waits_for = 0
        # Most tasks have none or one of these: what is not made need not be looked at by the garbage collector.
        self.dependents: Sequence[Node] = ()
        self.literals: Mapping[str, Any] = NOTHING
        self.references: Sequence[tuple[str, Node, str, Port | None]] = ()
        """Argument, producer, output, and the port to check the value against where that can only be done now."""
        self.values: Mapping[str, Any] = NOTHING
        """Its arguments, while it runs."""
        self.launched = self.begun = self.holds = False
        """Whether its turn has come; whether its work has begun; whether it holds its worker's place and the run's."""
        self.permit: asyncio.Future[None] | None = None
        """Set where its coroutine waits for places."""
        self.expected_cost = 0.0
        """What it may cost while it holds its places, where the run has a budget."""
        self.started_s = self.duration_s = 0.0
        self.attempts: Sequence[Attempt] = ()
        """The calls that failed, and the one that ended it where some failed before."""
        self.earlier: Sequence[Attempt] = ()
        """The calls that failed before the run was resumed."""
        self.status: TaskStatus | None = None
        """Written once."""
        self.output: Output | None = None
        self.error: str | None = None
        self.run: TaskRun | None = None

    def arguments(self, root: pathlib.Path) -> dict[str, Any]:
        """The plain values of its arguments.

        Raises:
            BadValueError: a reference names an output that its task, though it succeeded, did not give, or one that
                is not of the wanted type.
        """
        values = dict(self.literals)
        if not self.references:
            return values
        for name, producer, output, port in self.references:
            assert producer.output is not None
            given = producer.output.values
            if output not in given:
                raise BadValueError(
                    f"argument {name} wants output {output!r} of task {producer.task.id}, "
                    f"which gave only {', '.join(sorted(given)) or 'nothing'}"
                )
            if port is not None:
                check_value(port, given[output], root, f"task {producer.task.id}'s output {output!r} for the argument")
            values[name] = given[output]
        return values

    def take_in(self, run: TaskRun) -> None:
        """Of a resumption: it was finished before."""
        self.status, self.launched, self.begun, self.run = run.status, True, True, run
        self.output = Output(run.outputs, run.cost, run.tokens)

    def ending(self) -> dict[str, Any]:
        """How it ended, as the fields of a TaskRun; it has ended."""
        if self.run is not None:
            return vars(self.run)
        output = self.output
        cost, tokens, outputs = (0.0, 0, {}) if output is None else (output.cost, output.tokens, output.values)
        attempts: tuple[Attempt, ...] = ()
        if self.earlier or self.attempts:
            attempts = (*self.earlier, *self.attempts)
            cost += sum(a.cost for a in attempts if a.error is not None)
            tokens += sum(a.tokens for a in attempts if a.error is not None)
        fields = {
            "task": self.task.id,
            "task_type": self.task.task_type,
            "worker": self.door.worker_id if self.begun else self.task.worker,
            "status": self.status,
            "started_s": self.started_s,
            "duration_s": self.duration_s,
            "cost": cost,
            "tokens": tokens,
            "quality": None,
            "error": self.error,
            "outputs": outputs,
            "attempts": attempts,
        }
        self.run = _trusted_run(fields)
        return fields

    def task_run(self) -> TaskRun:
        """How it ended; it has."""
        if self.run is None:
            self.ending()
        assert self.run is not None
        return self.run


def make_nodes(workflow: Workflow, catalog: Catalog, doors: Doors) -> list[Node]:
    """The nodes of a valid workflow, in its order."""
    task_types = {t.id: t for t in catalog.task_types}
    nodes: dict[str, Node] = {}
    for index, task in enumerate(workflow.tasks):
        nodes[task.id] = Node(index, task, task_types[task.task_type], doors.door(str(task.worker), task.id))
    unproven = _Unproven()
    for node in nodes.values():
        if node.task.arguments:
            _take_arguments(node, nodes, unproven)
        before = node.task.depends_on  # whatever the arguments refer to is among them: the workflow is valid
        node.waits_for = len(before)
        for producer_id in before:
            producer = nodes[producer_id]
            if producer.dependents:
                producer.dependents.append(node)  # pyright: ignore[reportAttributeAccessIssue] - a list from here on
            else:
                producer.dependents = [node]
    return list(nodes.values())


def _take_arguments(node: Node, nodes: Mapping[str, Node], unproven: _Unproven) -> None:
    literals, references = {}, []
    for name, argument in node.task.arguments.items():
        if isinstance(argument, Value):
            literals[name] = argument.value
        else:
            producer = nodes[argument.task]
            port = unproven.port(producer.task_type, argument.output, node.task_type, name)
            references.append((name, producer, argument.output, port))
    if literals:
        node.literals = literals
    if references:
        node.references = references


class _Unproven:
    """Knows the inputs whose types only values can show to fit, because the outputs are declared as `any`."""

    def __init__(self) -> None:
        self._ports: dict[tuple[str, str, str, str], Port | None] = {}

    def port(self, producer: TaskType, output: str, consumer: TaskType, argument: str) -> Port | None:
        """The input to check a value against; None where that is proven."""
        key = (producer.id, output, consumer.id, argument)
        if key not in self._ports:
            given = next((p for p in producer.outputs if p.name == output), None)
            open_ = given is not None and given.type == ANY
            wanted = (p for p in consumer.inputs if p.name == argument and p.type != ANY)
            self._ports[key] = next(wanted, None) if open_ else None
        return self._ports[key]


def rank(nodes: Sequence[Node]) -> None:
    """Put first what has the longest way to the end before it: by expected times, or by tasks where none are known."""
    known = [node.door.latency for node in nodes if node.door.latency > 0]
    typical = sum(known) / len(known) if known else 1.0
    for node in _dependents_first(nodes):
        way = min([dependent.rank for dependent in node.dependents]) if node.dependents else 0.0
        node.rank = way - (node.door.latency or typical)


def _dependents_first(nodes: Sequence[Node]) -> Iterable[Node]:
    if all(dependent.index > node.index for node in nodes for dependent in node.dependents):
        return reversed(nodes)
    before = [0] * len(nodes)
    for node in nodes:
        for dependent in node.dependents:
            before[dependent.index] += 1
    order = [node for node in nodes if not before[node.index]]
    for node in order:  # grows meanwhile
        for dependent in node.dependents:
            before[dependent.index] -= 1
            if not before[dependent.index]:
                order.append(dependent)
    return reversed(order)
