"""Checks a workflow against a catalog and lists everything that is wrong with it."""

from __future__ import annotations

import collections
from collections.abc import Callable, Collection, Iterator
from typing import Any

from orchestai_jax.workflow.catalog import ANY, Catalog, Parameter, Port, TaskType, types_fit
from orchestai_jax.workflow.faults import Fault, WorkflowError
from orchestai_jax.workflow.ordering import cycle_message, find_cycles, predecessors
from orchestai_jax.workflow.workflow import Reference, Task, Value, Workflow

PARAMETER_SOURCES: dict[str, tuple[str, ...]] = {
    "string": ("text", "number", "file"),
    "path": ("text", "file"),
    "url": ("text", "file"),
    "integer": ("number",),
    "number": ("number",),
    "boolean": (),
    "array": ("json", "table"),
    "object": ("json",),
    "any": (ANY,),
}
"""Data types whose outputs may fill a parameter of each type by reference; an output of type `any` fills all."""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_LITERALS: dict[str, Callable[[Any], bool]] = {
    # types of parameters
    "string": lambda v: isinstance(v, str),
    "path": lambda v: isinstance(v, str),
    "url": lambda v: isinstance(v, str),
    "integer": lambda v: _is_number(v) and (isinstance(v, int) or v.is_integer()),
    "number": _is_number,
    "boolean": lambda v: isinstance(v, bool),
    "array": lambda v: isinstance(v, list | tuple),
    "object": lambda v: isinstance(v, dict),
    # types of ports: text, or the path of a file
    "text": lambda v: isinstance(v, str),
    "file": lambda v: isinstance(v, str),
    "image": lambda v: isinstance(v, str),
    "audio": lambda v: isinstance(v, str),
    "video": lambda v: isinstance(v, str),
    "table": lambda v: isinstance(v, str),
    "document": lambda v: isinstance(v, str),
}
"""Which literals each type takes; one that is not here (`any`, `json`, one of the user's own) takes every literal."""


def validate_workflow(workflow: Workflow, catalog: Catalog, *, require_arguments: bool = True) -> list[Fault]:
    """Everything that is wrong with a workflow, in task order, cycles last; an empty list where it is valid.

    With `require_arguments` a required input or parameter that nothing fills is a fault; without, a plan may leave
    arguments open. Time is linear in tasks, edges and arguments. Of cycles that share a task one is named.
    """
    faults: list[Fault] = []
    tasks: dict[str, Task] = {}
    for task in workflow.tasks:
        if task.id in tasks:
            faults.append(Fault("duplicate_task", f"two tasks have the id {task.id!r}; ids must be unique", task.id))
        else:
            tasks[task.id] = task
    outputs = _Outputs(tasks, catalog)
    right = _Right(outputs, require_arguments)
    in_order = True  # every task after all that it needs: then there is no cycle to look for
    seen: set[str] = set()
    for task in workflow.tasks:
        if not right.surely(task, seen):
            found = [
                *_dependency_faults(task, tasks),
                *_worker_faults(task, catalog),
                *_argument_faults(task, outputs, require_arguments),
            ]
            in_order = in_order and seen.issuperset(predecessors(task))
            if found:
                faults += found
            else:
                right.learn(task)
        seen.add(task.id)
    if not in_order:
        graph = {t: tuple(p for p in predecessors(task) if p in tasks and p != t) for t, task in tasks.items()}
        faults += [Fault("cycle", cycle_message(cycle), cycle[0]) for cycle in find_cycles(graph)]
    return faults


def check_workflow(workflow: Workflow, catalog: Catalog, *, require_arguments: bool = True) -> None:
    """Raise WorkflowError, which carries all faults, where `validate_workflow` finds any."""
    faults = validate_workflow(workflow, catalog, require_arguments=require_arguments)
    if faults:
        shown = "; ".join(map(str, faults[:10]))
        more = f"; and {len(faults) - 10} more" if len(faults) > 10 else ""
        raise WorkflowError(f"the workflow has {len(faults)} fault(s): {shown}{more}", faults)


class _Outputs:
    """The task types of a workflow's tasks, and what they take and give by name."""

    def __init__(self, tasks: dict[str, Task], catalog: Catalog):
        self.tasks, self.catalog = tasks, catalog
        self._task_types: dict[str, TaskType | None] = {}
        self._ports: dict[str, dict[str, Port]] = {}
        self._slots: dict[str, dict[str, Port | Parameter]] = {}
        self._required: dict[str, frozenset[str]] = {}

    def task_type(self, task: Task) -> TaskType | None:
        name = task.task_type
        if name not in self._task_types:
            self._task_types[name] = self.catalog.task_type(name) if name in self.catalog.index else None
        return self._task_types[name]

    def of(self, task_type: TaskType) -> dict[str, Port]:
        if task_type.id not in self._ports:
            self._ports[task_type.id] = {port.name: port for port in task_type.outputs}
        return self._ports[task_type.id]

    def slots(self, task_type: TaskType) -> dict[str, Port | Parameter]:
        slots = self._slots.get(task_type.id)
        if slots is None:
            both = (*task_type.parameters, *task_type.inputs)
            slots = self._slots[task_type.id] = {slot.name: slot for slot in both}
        return slots

    def required(self, task_type: TaskType) -> frozenset[str]:
        """The inputs and parameters that must be given."""
        names = self._required.get(task_type.id)
        if names is None:
            slots = self.slots(task_type)
            names = self._required[task_type.id] = frozenset(n for n, slot in slots.items() if slot.must_be_given)
        return names


class _Right:
    """Knows tasks that are right because others like them were looked at: most tasks of a large workflow."""

    def __init__(self, outputs: _Outputs, require_arguments: bool):
        self._outputs, self._require_arguments = outputs, require_arguments
        self._required: dict[tuple[str, str | None], frozenset[str]] = {}
        """(Task type, worker) that fit, with the arguments that must be given."""
        self._references: set[tuple[str, str, str, str]] = set()
        """(Task type of the producer, its output, task type of the consumer, its argument) that fit."""

    def surely(self, task: Task, earlier: set[str]) -> bool:
        """Whether the task is right, and depends on earlier tasks alone; False where that must be looked at."""
        required = self._required.get((task.task_type, task.worker))
        if required is None or task.alternatives:
            return False
        before, arguments = task.depends_on, task.arguments
        if before and (not earlier.issuperset(before) or (len(before) > 1 and len(set(before)) < len(before))):
            return False
        if required and not required <= arguments.keys():
            return False
        for name, argument in arguments.items():
            if type(argument) is not Reference or argument.task not in before:
                return False
            produced_by = self._outputs.tasks[argument.task].task_type
            if (produced_by, argument.output, task.task_type, name) not in self._references:
                return False
        return task.id not in earlier

    def learn(self, task: Task) -> None:
        """A task was looked at and has no fault."""
        task_type = self._outputs.task_type(task)
        if task_type is None:
            return
        required = self._outputs.required(task_type) if self._require_arguments else frozenset[str]()
        if not task.alternatives:
            self._required[task.task_type, task.worker] = required
        for name, argument in task.arguments.items():
            if isinstance(argument, Reference):
                produced_by = self._outputs.tasks[argument.task].task_type
                self._references.add((produced_by, argument.output, task.task_type, name))


def _dependency_faults(task: Task, tasks: Collection[str]) -> Iterator[Fault]:
    if len(task.depends_on) > 1 and len(set(task.depends_on)) < len(task.depends_on):
        for before, count in collections.Counter(task.depends_on).items():
            if count > 1:
                message = f"task {task.id!r} names {before!r} {count} times in depends_on; once is enough"
                yield Fault("duplicate_dependency", message, task.id)
    for before in task.depends_on if len(task.depends_on) < 2 else dict.fromkeys(task.depends_on):
        if before == task.id:
            yield Fault("self_dependency", f"task {task.id!r} depends on itself", task.id)
        elif before not in tasks:
            yield Fault("unknown_dependency", f"task {task.id!r} depends on {before!r}, which is no task", task.id)


def _worker_faults(task: Task, catalog: Catalog) -> Iterator[Fault]:
    if task.task_type not in catalog.index:
        message = f"task {task.id!r} has the type {task.task_type!r}, which catalog {catalog.name!r} does not have"
        yield Fault("unknown_task_type", message, task.id)
    for worker in task.alternatives if task.worker is None else (task.worker, *task.alternatives):
        if not catalog.has_worker(worker):
            message = f"task {task.id!r} has the worker {worker!r}, which catalog {catalog.name!r} does not have"
            yield Fault("unknown_worker", message, task.id)
        elif task.task_type in catalog.index and not catalog.can_do(worker, task.task_type):
            able = ", ".join(repr(w.id) for w in catalog.workers_for(task.task_type)[:10]) or "no worker"
            message = f"task {task.id!r}: worker {worker!r} cannot do {task.task_type!r}; able: {able}"
            yield Fault("worker_cannot_do_task", message, task.id)


def _argument_faults(task: Task, outputs: _Outputs, require_arguments: bool) -> Iterator[Fault]:
    task_type = outputs.task_type(task)
    slots: dict[str, Port | Parameter] = {}
    if task_type is not None:
        slots = outputs.slots(task_type)
        if require_arguments and not outputs.required(task_type) <= task.arguments.keys():
            for slot in slots.values():
                if slot.name not in task.arguments and slot.must_be_given:
                    kind = "input" if isinstance(slot, Port) else "parameter"
                    message = f"task {task.id!r} ({task_type.id}): {kind} {slot.name!r} is required and not given"
                    yield Fault("missing_argument", message, task.id)
    for name, argument in task.arguments.items():
        where = f"task {task.id!r}: argument {name!r}"
        slot = slots.get(name)
        if slot is None and task_type is not None:
            takes = ", ".join(map(repr, slots)) or "it takes none"
            yield Fault("bad_argument", f"{where} is unknown to {task_type.id!r}; known: {takes}", task.id)
        if isinstance(argument, Reference):
            yield from _reference_faults(task, where, argument, slot, outputs)
        elif slot is not None:
            wrong = _wrong_literal(slot, argument)
            if wrong:
                yield Fault("bad_argument", f"{where} {wrong}", task.id)


def _reference_faults(
    task: Task, where: str, reference: Reference, slot: Port | Parameter | None, outputs: _Outputs
) -> Iterator[Fault]:
    if reference.task == task.id:
        yield Fault("self_dependency", f"{where} references an output of its own task", task.id)
        return
    producer = outputs.tasks.get(reference.task)
    if producer is None:
        yield Fault("dangling_reference", f"{where} references {reference.task!r}, which is no task", task.id)
        return
    if reference.task not in task.depends_on:
        message = f"{where} references {reference.task!r}, which depends_on does not name"
        yield Fault("reference_without_dependency", message, task.id)
    produced_by = outputs.task_type(producer)
    if produced_by is None:
        return
    output = outputs.of(produced_by).get(reference.output)
    if output is None:
        has = ", ".join(map(repr, outputs.of(produced_by))) or "none"
        message = f"{where} references the output {reference.output!r} of {reference.task!r}, whose outputs are: {has}"
        yield Fault("dangling_reference", message, task.id)
    elif slot is not None and not may_fill(output.type, slot):
        message = f"{where} wants {slot.type} and references {reference.task!r}.{output.name!r}, which is {output.type}"
        yield Fault("type_mismatch", message, task.id)


def may_fill(produced: str, slot: Port | Parameter) -> bool:
    """Whether an output of data type `produced` may be referenced in an input or a parameter."""
    wanted = (slot.type,) if isinstance(slot, Port) else PARAMETER_SOURCES[slot.type]
    return produced == ANY or any(types_fit(produced, want) for want in wanted)


def _wrong_literal(slot: Port | Parameter, argument: Value) -> str | None:
    """What is wrong with a literal, or None. None stands for an argument left out, where that is allowed."""
    value = argument.value
    if value is None and not slot.must_be_given:
        return None
    fits = _LITERALS.get(slot.type)
    if fits is not None and not fits(value):
        return f"wants {slot.type}, given {_short(value)}"
    if isinstance(slot, Parameter) and slot.enum is not None and not any(_same(value, entry) for entry in slot.enum):
        return f"must be one of {_short(list(slot.enum))}, given {_short(value)}"
    return None


def _same(value: Any, entry: Any) -> bool:
    return value == entry and isinstance(value, bool) == isinstance(entry, bool)  # True == 1 in Python, not in JSON


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else text[:97] + "..."
