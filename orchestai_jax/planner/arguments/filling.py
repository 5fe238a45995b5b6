"""Fills the arguments of planned tasks by rule from the instruction."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Sequence
from typing import Protocol, runtime_checkable

from orchestai_jax.planner.arguments.clauses import Alignment, align
from orchestai_jax.planner.arguments.fitting import is_untyped
from orchestai_jax.planner.arguments.known_columns import column_names, keep_known
from orchestai_jax.planner.arguments.reading import Reading, read
from orchestai_jax.planner.arguments.references import PortFiller, task_id
from orchestai_jax.planner.arguments.traits import traits
from orchestai_jax.planner.arguments.values import ParameterFiller
from orchestai_jax.planner.arguments.words import content_stems
from orchestai_jax.workflow.catalog import Catalog, TaskType
from orchestai_jax.workflow.validation import may_fill
from orchestai_jax.workflow.workflow import Reference, Value


@runtime_checkable
class FillsArguments(Protocol):
    """What fills the arguments of planned tasks; see `fill_arguments`, which is one."""

    def __call__(
        self,
        instruction: str,
        task_types: Sequence[str],
        edges: Collection[tuple[int, int]],
        catalog: Catalog,
        *,
        edge_probability: Callable[[int, int], float] | None = None,
    ) -> Filled:
        """The arguments of tasks in topological order."""
        ...


class ArgumentError(ValueError):
    """A plan whose arguments cannot be filled, because it is no plan over the catalog."""


@dataclasses.dataclass(frozen=True, slots=True)
class Filled:
    """Arguments of a plan's tasks, and the edges that they leave."""

    arguments: tuple[dict[str, Value | Reference], ...]
    """For each task its arguments by name; a reference's task is `t1` for the first task, and so on."""
    edges: frozenset[tuple[int, int]]
    """(producer, consumer) positions; the producer always comes first."""
    open_arguments: tuple[tuple[int, str], ...]
    """(task, name) of every required input or parameter that nothing in the instruction fills."""
    notes: tuple[str, ...]
    """What a reader of the plan should know: arguments left open, edges dropped."""


def fill_arguments(
    instruction: str,
    task_types: Sequence[str],
    edges: Collection[tuple[int, int]],
    catalog: Catalog,
    *,
    edge_probability: Callable[[int, int], float] | None = None,
) -> Filled:
    """Fill the arguments of tasks (in topological order) with what the instruction says and with earlier outputs.

    Every literal is said in the instruction (a number may be converted to the parameter's unit), is an entry of the
    parameter's enumeration or a column that the declaration of the table's producer lists; what is not said is left
    out or, where it is required, left open. Time is linear in the instruction.

    Args:
        instruction: any text.
        task_types: ids of the planned tasks' types, in topological order.
        edges: predicted (producer, consumer) pairs of positions.
        catalog: where the task types are declared.
        edge_probability: probability of an edge (producer, consumer), where the planner has one; it ranks producers
            that want the same input and keeps pronouns from adding an edge that the planner holds to be impossible.

    Raises:
        ArgumentError: a task type is not in the catalog.
    """
    types = known_types(task_types, catalog)
    if not any(t.inputs or t.parameters for t in types):
        kept, notes = _ordered(edges, len(types))
        return Filled(tuple({} for _ in types), frozenset(kept), (), tuple(notes))
    reading = read(instruction)
    return fill_aligned(reading, align(reading, types), types, edges, edge_probability)


def known_types(task_types: Sequence[str], catalog: Catalog) -> list[TaskType]:
    """The task types of a plan. Raises ArgumentError for one that the catalog does not have."""
    for position, name in enumerate(task_types):
        if name not in catalog.index:
            raise ArgumentError(
                f"task {task_id(position)} has the type {name!r}, which catalog {catalog.name!r} does not have; "
                "plan over the catalog that is given here"
            )
    return [catalog.task_type(name) for name in task_types]


def fill_aligned(
    reading: Reading,
    alignment: Alignment,
    types: Sequence[TaskType],
    edges: Collection[tuple[int, int]],
    edge_probability: Callable[[int, int], float] | None = None,
) -> Filled:
    """`fill_arguments` of an instruction that is read and aligned with the tasks already."""
    kept, notes = _ordered(edges, len(types))
    parameters = ParameterFiller(reading, alignment, types)
    parameters.fill_strong()
    columns = [
        [name for names in column_names(values, t).values() for name in names]
        for values, t in zip(parameters.values, types, strict=True)
    ]
    ports = PortFiller(reading, alignment, types, kept, edge_probability, parameters.used, columns)
    ports.fill()
    parameters.fill_weak()
    parameters.share_among_siblings(ports.edges)
    for task, values in enumerate(parameters.values):
        keep_known(task, types, ports.arguments, values)
    arguments: list[dict[str, Value | Reference]] = []
    for task, task_type in enumerate(types):
        filled: dict[str, Value | Reference] = dict(ports.arguments[task])
        filled.update(
            (p.name, Value(value=v))
            for p in task_type.parameters
            if (v := parameters.values[task].get(p.name)) is not None
        )
        if is_untyped(task_type):
            filled.update(_by_reference(task, types, sorted(i for i, j in ports.edges if j == task), filled))
        arguments.append(filled)
    left = open_arguments(types, arguments)
    notes += ports.notes
    notes += open_notes(types, left)
    return Filled(tuple(arguments), frozenset(ports.edges), left, tuple(notes))


def _ordered(edges: Collection[tuple[int, int]], n: int) -> tuple[list[tuple[int, int]], list[str]]:
    """The edges that go forward between existing tasks, and a note for each of the others."""
    kept, notes = [], []
    for i, j in sorted(set(edges)):
        if 0 <= i < j < n:
            kept.append((i, j))
        else:
            notes.append(
                f"dropped the edge {task_id(i)} -> {task_id(j)}: it does not lead from an earlier to a later task"
            )
    return kept, notes


def open_arguments(
    types: Sequence[TaskType], arguments: Sequence[dict[str, Value | Reference]]
) -> tuple[tuple[int, str], ...]:
    """(task, name) of every required input and parameter that has no argument."""
    left: list[tuple[int, str]] = []
    for task, task_type in enumerate(types):
        names = [p.name for p in (*task_type.inputs, *task_type.parameters) if p.must_be_given]
        left += [(task, name) for name in names if name not in arguments[task]]
    return tuple(left)


def open_notes(types: Sequence[TaskType], left: Sequence[tuple[int, str]]) -> list[str]:
    """What a reader is told of open arguments."""
    return [
        f"{task_id(t)} ({types[t].id}): the instruction does not say {name!r}, which is required" for t, name in left
    ]


def _by_reference(
    task: int, types: Sequence[TaskType], producers: Sequence[int], filled: dict[str, Value | Reference]
) -> dict[str, Reference]:
    """For a task type with untyped inputs: open required parameters, then the inputs, from its producers."""
    given: dict[str, Reference] = {}
    open_parameters = [p for p in types[task].parameters if p.must_be_given and p.name not in filled]
    pairs = []
    for producer in producers:
        for output in types[producer].outputs:
            said = content_stems(f"{output.name} {output.description}")
            for k, parameter in enumerate(open_parameters):
                if may_fill(output.type, parameter):
                    shared = len(said & traits(parameter, types[task]).word_stems)
                    pairs.append((-shared, -producer, k, producer, output.name, parameter.name))
    served: set[int] = set()
    for shared, _, _, producer, output, name in sorted(pairs):
        # Each producer serves once, unless more of its outputs are plainly meant.
        if name not in given and (producer not in served or shared < 0):
            given[name] = Reference(task=task_id(producer), output=output)
            served.add(producer)
    free = [port.name for port in types[task].inputs]
    left = [p for p in producers if p not in served and types[p].outputs]
    for name, producer in zip(free, left, strict=False):
        given[name] = Reference(task=task_id(producer), output=types[producer].outputs[0].name)
    return given
