"""The tasks of a workflow as the engine holds them: who waits for whom, which worker is asked, what came of it."""

from __future__ import annotations

import asyncio
import dataclasses
import heapq
import pathlib
import types
from collections.abc import Mapping, Sequence
from typing import Any

from orchestai_jax.execution.gates import Gate, Gates, worker_limits
from orchestai_jax.execution.policies import RunPolicies, WorkerPolicy
from orchestai_jax.execution.values import BadValueError, check_value
from orchestai_jax.workers import Output, Worker, WorkerContext, WorkerError
from orchestai_jax.workflow import (
    ANY,
    Attempt,
    Catalog,
    Port,
    Reference,
    Task,
    TaskRun,
    TaskType,
    Value,
    WorkerSpec,
    Workflow,
    predecessors,
)
from orchestai_jax.workflow.record import TaskStatus

_NOTHING: Mapping[str, Any] = types.MappingProxyType({})
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
        self._doors: dict[tuple[str, str | None], Door] = {}

    def door(self, worker_id: str, task_id: str) -> Door:
        """The door of a worker for a task."""
        key = (worker_id, task_id if task_id in self._policies.tasks else None)
        door = self._doors.get(key)
        if door is None:
            door = self._doors[key] = self._make(worker_id, task_id)
        return door

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
        self.literals: Mapping[str, Any] = _NOTHING
        self.references: Sequence[tuple[str, Node, str, Port | None]] = ()
        """Argument, producer, output, and the port to check the value against where that can only be done now."""
        self.values: Mapping[str, Any] = _NOTHING
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

    def task_run(self) -> TaskRun:
        """How it ended; it has."""
        if self.run is None:
            output, attempts = self.output, (*self.earlier, *self.attempts)
            cost, tokens = (0.0, 0) if output is None else (output.cost, output.tokens)
            if attempts:
                cost += sum(a.cost for a in attempts if a.error is not None)
                tokens += sum(a.tokens for a in attempts if a.error is not None)
            self.run = _trusted_run(
                {
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
                    "outputs": {} if output is None else output.values,
                    "attempts": attempts,
                }
            )
        return self.run


def make_nodes(workflow: Workflow, catalog: Catalog, doors: Doors) -> list[Node]:
    """The nodes of a valid workflow, in its order."""
    nodes: dict[str, Node] = {}
    for index, task in enumerate(workflow.tasks):
        door = doors.door(str(task.worker), task.id)
        nodes[task.id] = Node(index, task, catalog.task_type(task.task_type), door)
    for node in nodes.values():
        arguments = node.task.arguments
        if arguments:
            node.literals = {name: a.value for name, a in arguments.items() if isinstance(a, Value)} or _NOTHING
            if len(node.literals) < len(arguments):
                node.references = [
                    (name, nodes[a.task], a.output, _unproven(node, name, nodes[a.task], a))
                    for name, a in arguments.items()
                    if isinstance(a, Reference)
                ]
        before = predecessors(node.task)
        node.waits_for = len(before)
        for producer_id in before:
            producer = nodes[producer_id]
            if producer.dependents:
                producer.dependents.append(node)  # pyright: ignore[reportAttributeAccessIssue] - a list from here on
            else:
                producer.dependents = [node]
    return list(nodes.values())


def _unproven(node: Node, name: str, producer: Node, reference: Reference) -> Port | None:
    """The input whose type only the value itself can show to fit, because the output is declared as `any`."""
    output = next((p for p in producer.task_type.outputs if p.name == reference.output), None)
    if output is None or output.type != ANY:
        return None
    return next((p for p in node.task_type.inputs if p.name == name and p.type != ANY), None)


def rank(nodes: Sequence[Node]) -> None:
    """Put first what has the longest way to the end before it: by expected times, or by tasks where none are known."""
    known = [node.door.latency for node in nodes if node.door.latency > 0]
    typical = sum(known) / len(known) if known else 1.0
    left = [len(node.dependents) for node in nodes]
    producers: list[list[Node]] = [[] for _ in nodes]
    for node in nodes:
        for dependent in node.dependents:
            producers[dependent.index].append(node)
    longest = [0.0] * len(nodes)
    todo = [node for node in nodes if not left[node.index]]
    while todo:
        node = todo.pop()
        length = longest[node.index] + (node.door.latency or typical)
        node.rank = -length
        for producer in producers[node.index]:
            longest[producer.index] = max(longest[producer.index], length)
            left[producer.index] -= 1
            if not left[producer.index]:
                todo.append(producer)


class ReadyQueue:
    """Tasks that could start, the most urgent first, then in the workflow's order."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Node]] = []

    def __bool__(self) -> bool:
        return bool(self._heap)

    def push(self, node: Node) -> None:
        """Add a task."""
        heapq.heappush(self._heap, (node.rank, node.index, node))

    def pop(self) -> Node:
        """Take the most urgent."""
        return heapq.heappop(self._heap)[2]
