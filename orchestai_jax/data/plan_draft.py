"""A plan while it is grown, and the catalog as the grower sees it: what takes what, from where."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from orchestai_jax.data.default_templates import default_clauses, default_values
from orchestai_jax.data.template_clauses import PoolValue, TaskClauses
from orchestai_jax.data.templates import Templates
from orchestai_jax.workflow.catalog import ANY, Catalog, Parameter, Port, TaskType, types_fit

_REFERABLE = ("string", "any", "object", "array", "path", "url")
"""Types of parameters that an earlier task's output may fill where a task type has no input ports at all."""


@dataclasses.dataclass(frozen=True, slots=True)
class Upstream:
    """An input that an earlier task's output fills."""

    task: int
    output: str


Fill = PoolValue | Upstream


@dataclasses.dataclass(slots=True)
class DraftTask:
    """One task of a draft: how each of its filled inputs is filled, and what it must merely come after."""

    task_type: TaskType
    fills: dict[str, Fill]
    after: set[int] = dataclasses.field(default_factory=set)

    @property
    def producers(self) -> set[int]:
        """Positions of the tasks that this one depends on."""
        return {fill.task for fill in self.fills.values() if isinstance(fill, Upstream)} | self.after


@dataclasses.dataclass(slots=True)
class Draft:
    """Tasks in a topological order, each after its producers."""

    tasks: list[DraftTask] = dataclasses.field(default_factory=list)

    def consumers(self, task: int) -> list[int]:
        """Positions of the tasks that depend on `task`."""
        return [i for i, other in enumerate(self.tasks) if task in other.producers]

    @property
    def edges(self) -> set[tuple[int, int]]:
        """All (producer, consumer) positions."""
        return {(p, i) for i, task in enumerate(self.tasks) for p in task.producers}

    @property
    def shape(self) -> str:
        """`node` for one task, `chain` where the tasks form one path, else `dag`."""
        return plan_shape(len(self.tasks), self.edges)


def plan_shape(n: int, edges: set[tuple[int, int]]) -> str:
    """`empty`, `node` (one task), `chain` (all tasks on one path, no other edges) or `dag` (all else)."""
    if n <= 1:
        return "node" if n else "empty"
    sources, targets = [s for s, _ in edges], [t for _, t in edges]
    path = len(edges) == n - 1 and len(set(sources)) == len(sources) and len(set(targets)) == len(targets)
    return "chain" if path else "dag"


class CatalogView:
    """A catalog and its templates, asked for what the grower and the composer need to know of a task type."""

    def __init__(self, catalog: Catalog, templates: Templates) -> None:
        self.catalog = catalog
        self.templates = templates
        self._successors: dict[str, frozenset[str]] = {}
        for link in catalog.links:
            self._successors[link.source] = self._successors.get(link.source, frozenset()) | {link.target}
        self._clauses: dict[str, TaskClauses] = {}
        self._ports: dict[str, tuple[Port, ...]] = {}
        self._typed_pools: dict[str, tuple[PoolValue, ...]] = {}
        ports = (port.type for t in catalog.task_types for port in (*t.inputs, *t.outputs))
        self._data_types = tuple(dict.fromkeys(kind for kind in ports if kind != ANY))
        self._followers: dict[tuple[str, ...], list[TaskType]] = {}
        self._takers: dict[str, frozenset[str]] = {}
        self._pools: dict[tuple[str, str], tuple[PoolValue, ...]] = {}
        self._openings: list[TaskType] | None = None

    def ports(self, task_type: TaskType) -> tuple[Port, ...]:
        """The inputs that an output may fill.

        For types that declare none, or only optional ones of any type (as readers of function catalogs do), these are
        the required parameters that take text, where there are some.
        """
        if task_type.id not in self._ports:
            parameters = tuple(
                Port(name=p.name, type=ANY, description=p.description)
                for p in task_type.parameters
                if p.required and not p.enum and p.type in _REFERABLE
            )
            vague = all(port.type == ANY and not port.required for port in task_type.inputs)
            self._ports[task_type.id] = parameters if vague and parameters else task_type.inputs
        return self._ports[task_type.id]

    def literals(self, task_type: TaskType, port: Port) -> tuple[PoolValue, ...]:
        """What may be written into the instruction for a port."""
        key = (task_type.id, port.name)
        if key not in self._pools:
            given = self.templates.pool(task_type, port.name) or self._typed(port.type)
            parameter = self.parameter(task_type, port.name)
            self._pools[key] = given or default_values(parameter.type if parameter else port.type, parameter)
        return self._pools[key]

    def values(self, task_type: TaskType, slot: str) -> tuple[PoolValue, ...]:
        """What may fill a slot that is no input: from the templates, else from the parameter's enum or type."""
        key = (task_type.id, slot)
        if key not in self._pools:
            parameter = self.parameter(task_type, slot)
            default = default_values(parameter.type, parameter) if parameter is not None else ()
            self._pools[key] = self.templates.pool(task_type, slot) or default
        return self._pools[key]

    def parameter(self, task_type: TaskType, name: str) -> Parameter | None:
        """The parameter of that name, where there is one."""
        return next((p for p in task_type.parameters if p.name == name), None)

    def clauses(self, task_type: TaskType) -> TaskClauses:
        """The clauses of the templates, else the default ones."""
        if task_type.id not in self._clauses:
            given = self.templates.task_types.get(task_type.id)
            self._clauses[task_type.id] = given or default_clauses(
                task_type, tuple(p.name for p in self.ports(task_type)), self.needed(task_type)
            )
        return self._clauses[task_type.id]

    def needed(self, task_type: TaskType) -> tuple[str, ...]:
        """Names of the inputs and parameters that every instruction for this type must give."""
        return tuple(slot.name for slot in (*task_type.inputs, *task_type.parameters) if slot.must_be_given)

    def followers(self, sources: Sequence[TaskType]) -> list[TaskType]:
        """The task types that may use an output of each source: by type, and by the tool graph where there is one.

        Whether they can take all of them at once is for the caller to see. The list is not to be changed.
        """
        key = tuple(sorted({source.id if self._successors else self._signature(source) for source in sources}))
        if key not in self._followers:
            ids = frozenset.intersection(*(self._takers_of(source) for source in sources))
            if self._successors:
                ids &= frozenset.intersection(*(self._successors.get(s.id, frozenset()) for s in sources))
            positions = sorted(self.catalog.index[type_id] for type_id in ids)
            self._followers[key] = [self.catalog.task_types[i] for i in positions]
        return self._followers[key]

    def _signature(self, source: TaskType) -> str:
        """What decides which task types can follow by type: the output types, and whether it has inputs at all."""
        # A tool without inputs can only come after: a plan where the tool graph says so, or nothing has inputs.
        bare = bool(self._successors) or not self.ports(source)
        return " ".join(sorted({output.type for output in source.outputs})) + (" bare" if bare else "")

    def _takers_of(self, source: TaskType) -> frozenset[str]:
        key = self._signature(source)
        if key not in self._takers:
            types = {output.type for output in source.outputs}
            bare = key.endswith(" bare")
            self._takers[key] = frozenset(
                t.id
                for t in self.catalog.task_types
                if any(types_fit(o, p.type) for p in self.ports(t) for o in types) or (bare and not self.ports(t))
            )
        return self._takers[key]

    def openings(self) -> list[TaskType]:
        """The task types that may come first: all their inputs can be written out."""
        if self._openings is None:
            self._openings = [t for t in self.catalog.task_types if self.literal_fills(t, None) is not None]
        return self._openings

    def literal_fills(self, task_type: TaskType, rng: np.random.Generator | None) -> dict[str, Fill] | None:
        """Literals for the required ports, None where one has none. Of ports that are all optional one gets a literal.

        Optional ports of any type need none: they only take what an earlier task gives.

        Without `rng` the first values are taken: enough to know whether it can be done.
        """
        ports = self.ports(task_type)
        wanted = [p for p in ports if p.required]
        if not wanted and any(p.type != ANY for p in ports):
            fillable = [p for p in ports if self.literals(task_type, p)]
            if not fillable:
                return None
            wanted = [fillable[0 if rng is None else int(rng.integers(len(fillable)))]]
        fills: dict[str, Fill] = {}
        for port in wanted:
            pool = self.literals(task_type, port)
            used = {fill.say for fill in fills.values() if isinstance(fill, PoolValue)}
            fresh = [entry for entry in pool if entry.say not in used] or list(pool)
            if not fresh:
                return None
            fills[port.name] = fresh[0 if rng is None else int(rng.integers(len(fresh)))]
        return fills

    def _typed(self, data_type: str) -> tuple[PoolValue, ...]:
        """The templates' pool of a data type, or of its subtypes: an image will do where a file is wanted."""
        if data_type not in self._typed_pools:
            pools = self.templates.values
            kinds = [kind for kind in self._data_types if kind in pools and types_fit(kind, data_type)]
            self._typed_pools[data_type] = pools.get(data_type) or tuple(e for kind in kinds for e in pools[kind])
        return self._typed_pools[data_type]
