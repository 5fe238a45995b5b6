"""Plans to put into words: small DAGs over a catalog whose types fit, each input a file or another task's output."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from orchestai_jax.workflow import Catalog, Port, types_fit

MAX_TASKS = 5

SHAPES = {
    "single": 20,
    "chain_2": 22,
    "chain_3": 16,
    "chain_4": 6,
    "chain_5": 2,
    "siblings_2": 9,
    "siblings_3": 4,
    "fan_out": 6,
    "join": 9,
    "join_file": 4,
    "join_then": 4,
    "separate": 6,
    "siblings_then": 3,
}
"""How often each shape is drawn."""


@dataclasses.dataclass(frozen=True, slots=True)
class FileInput:
    """An input that is a file: `file` tells the files of one plan apart."""

    file: int
    kind: str


@dataclasses.dataclass(frozen=True, slots=True)
class TaskInput:
    """An input that is the output of an earlier task of the plan."""

    task: int
    task_type: str


Input = FileInput | TaskInput


@dataclasses.dataclass(frozen=True, slots=True)
class PlannedTask:
    """A task type and where each of its inputs comes from."""

    task_type: str
    inputs: tuple[tuple[str, Input], ...]

    @property
    def producers(self) -> tuple[int, ...]:
        """The tasks whose outputs it needs."""
        return tuple(dict.fromkeys(source.task for _, source in self.inputs if isinstance(source, TaskInput)))


T = TypeVar("T")


def pick(rng: np.random.Generator, options: Sequence[T]) -> T:
    """One of several, evenly."""
    return options[int(rng.integers(len(options)))]


def pick_several(rng: np.random.Generator, options: Sequence[T], count: int) -> list[T]:
    """Some of several, no position twice, in random order."""
    return [options[int(i)] for i in rng.permutation(len(options))[:count]]


Plan = tuple[PlannedTask, ...]
"""Tasks in an order in which they can run."""


class _NoFitError(ValueError):
    """A source fits no free input."""


class PlanSampler:
    """Draws plans over a catalog whose tool graph says what goes with what.

    Raises ValueError when the catalog has no links: chains cannot be drawn then.
    """

    def __init__(self, catalog: Catalog) -> None:
        if not catalog.links:
            raise ValueError(f"catalog {catalog.name!r} has no links; plans are drawn along them")
        self._catalog = catalog
        self._shapes = list(SHAPES)
        self._weights = np.array(list(SHAPES.values())) / sum(SHAPES.values())
        self._types = [t.id for t in catalog.task_types]
        self._after: dict[str, list[str]] = {t: [] for t in self._types}
        for link in catalog.links:
            if catalog.fits(link.source, link.target):
                self._after[link.source].append(link.target)
        self._with_successors = [t for t in self._types if self._after[t]]
        self._joins = [t.id for t in catalog.task_types if len(t.inputs) > 1]
        self._siblings = {
            kind: [t.id for t in catalog.task_types if len(t.inputs) == 1 and t.inputs[0].type == kind]
            for kind in ("image", "audio", "table", "text")
        }

    def sample(self, rng: np.random.Generator) -> Plan:
        """Draw a plan of 1 to `MAX_TASKS` tasks, no task type twice."""
        while True:
            shape = self._shapes[rng.choice(len(self._shapes), p=self._weights)]
            try:
                plan = self._draw(shape, rng)
            except _NoFitError:  # a join of two tables into a report that takes one, say
                continue
            if plan is not None and 1 <= len(plan) <= MAX_TASKS:
                types = [task.task_type for task in plan]
                if len(set(types)) == len(types):
                    return plan

    def _draw(self, shape: str, rng: np.random.Generator) -> Plan | None:
        name, _, count = shape.partition("_")
        if shape == "single":
            return self._chain([pick(rng, self._types)], rng)
        if name == "chain":
            return self._chain(self._walk(int(count), rng), rng)
        if shape == "siblings_then":
            plan = self._draw("siblings_2", rng)
            return self._extend(plan, rng) if plan else None
        if name == "siblings":
            kind = pick(rng, list(self._siblings))
            file = FileInput(0, kind)
            return tuple(self._join(t, [file], rng) for t in pick_several(rng, self._siblings[kind], int(count)))
        if shape == "fan_out":
            source = pick(rng, [t for t in self._with_successors if len(self._after[t]) > 1])
            first = self._chain([source], rng)
            targets = [t for t in pick_several(rng, self._after[source], 2) if len(self._required(t)) == 1]
            return (
                (*first, *(self._join(t, [TaskInput(0, source)], rng) for t in targets)) if len(targets) == 2 else None
            )
        if shape == "separate":
            first, second = pick_several(rng, self._types, 2)
            one, other = self._chain([first], rng), self._chain([second], rng, file=3)
            return one + other
        return self._draw_join(shape, rng)

    def _draw_join(self, shape: str, rng: np.random.Generator) -> Plan | None:
        target = pick(rng, self._joins)
        sources = [t for t in self._with_successors if target in self._after[t] and len(self._required(t)) == 1]
        if shape == "join_file":
            source = self._chain([pick(rng, sources)], rng)
            port = self._catalog.task_type(target).inputs[1]
            original = source[0].inputs[0][1]
            same = isinstance(original, FileInput) and types_fit(original.kind, port.type) and rng.random() < 0.5
            inputs: list[Input] = [
                TaskInput(0, source[0].task_type),
                original if same else FileInput(1, _file_kind(port.type, rng)),
            ]
            if rng.random() < 0.4:
                inputs.reverse()
            return (*source, self._join(target, inputs, rng))
        if len(sources) < 2:
            return None
        one, other = pick_several(rng, sources, 2)
        first, second = self._chain([one], rng), self._chain([other], rng, file=3)
        shared = first[0].inputs[0][1]
        if _same_kind(shared, second[0].inputs[0][1]) and rng.random() < 0.6:
            second = (self._join(other, [shared], rng),)
        joined = self._join(target, [TaskInput(0, one), TaskInput(1, other)], rng)
        return (*first, *second, joined) if shape == "join" else self._extend((*first, *second, joined), rng)

    def _extend(self, plan: Plan, rng: np.random.Generator) -> Plan | None:
        """One more task behind the last one; None where nothing goes with it."""
        last = plan[-1].task_type
        targets = [t for t in self._after[last] if len(self._required(t)) == 1]
        if not targets:
            return None
        return (*plan, self._join(pick(rng, targets), [TaskInput(len(plan) - 1, last)], rng))

    def _walk(self, length: int, rng: np.random.Generator) -> list[str]:
        while True:
            walk = [pick(rng, self._with_successors)]
            while len(walk) < length and (following := [t for t in self._after[walk[-1]] if t not in walk]):
                walk.append(pick(rng, following))
            if len(walk) == length:
                return walk

    def _chain(self, task_types: Sequence[str], rng: np.random.Generator, file: int = 0) -> Plan:
        return tuple(
            self._join(t, [TaskInput(i - 1, task_types[i - 1])] if i else [], rng, file + 10 * i)
            for i, t in enumerate(task_types)
        )

    def _join(
        self, task_type_id: str, sources: Sequence[Input], rng: np.random.Generator, file: int = 0
    ) -> PlannedTask:
        """A task whose inputs are taken from `sources`, in order and where they fit, the required rest from new files.

        Files are numbered from `file`. Raises _NoFitError when a source fits no input that is still free.
        """
        task_type = self._catalog.task_type(task_type_id)
        inputs: dict[str, Input] = {}
        for source in sources:
            produced = [o.type for o in self._outputs(source)] if isinstance(source, TaskInput) else [source.kind]
            fitting = [
                p.name for p in task_type.inputs if p.name not in inputs and any(types_fit(t, p.type) for t in produced)
            ]
            if not fitting:
                raise _NoFitError(f"{task_type_id}: no free input takes {source}")
            inputs[fitting[0]] = source
        for port in task_type.inputs:
            optional = not sources and inputs and rng.random() < 0.5  # a report or an archive made of up to three files
            if port.name not in inputs and (
                port.required or (not sources and not inputs) or (not port.required and optional)
            ):
                inputs[port.name] = FileInput(file, _file_kind(port.type, rng))
                file += 1
        return PlannedTask(task_type_id, tuple((p.name, inputs[p.name]) for p in task_type.inputs if p.name in inputs))

    def _outputs(self, source: TaskInput) -> tuple[Port, ...]:
        return self._catalog.task_type(source.task_type).outputs

    def _required(self, task_type: str) -> list[str]:
        ports = self._catalog.task_type(task_type).inputs
        return [p.name for p in ports if p.required] or [ports[0].name]


def _same_kind(one: Input, other: Input) -> bool:
    return isinstance(one, FileInput) and isinstance(other, FileInput) and one.kind == other.kind


def _file_kind(port_type: str, rng: np.random.Generator) -> str:
    """The kind of a file for a port: mostly "file" itself where any file will do."""
    return pick(rng, ["file", "image", "table", "audio", "text"]) if port_type in ("file", "any") else port_type
