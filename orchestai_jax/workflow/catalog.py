"""The catalog: which task types exist, how their inputs and outputs are typed, and which workers can do them."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from orchestai_jax.workflow._field_errors import one_line
from orchestai_jax.workflow.connections import Connection

ANY = "any"
"""The type that fits every other type."""

SUPERTYPES: dict[str, str] = {"image": "file", "audio": "file", "table": "file", "video": "file", "document": "file"}
"""Direct supertype of each data type: an `image` goes wherever a `file` is wanted."""

ParameterType = Literal["string", "integer", "number", "boolean", "path", "url", "array", "object", "any"]


def types_fit(produced: str, wanted: str) -> bool:
    """Whether a value of type `produced` may be handed to an input of type `wanted`."""
    if ANY in (produced, wanted):
        return True
    current: str | None = produced
    while current is not None:
        if current == wanted:
            return True
        current = SUPERTYPES.get(current)
    return False


class CatalogError(ValueError):
    """A catalog that cannot be read or does not hold together. The message lists all faults."""

    def __init__(self, message: str, location: tuple[int | str, ...] = ()):
        super().__init__(message)
        self.location = location
        """Where in the catalog's fields the first fault is, as `("task_types", 2)`; empty where that is not known."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class Port(_Frozen):
    """A typed input or output of a task type."""

    name: str = Field(min_length=1)
    type: str = ANY
    description: str = ""
    required: bool = True

    @property
    def must_be_given(self) -> bool:
        """Whether a task cannot be run unless something fills this input."""
        return self.required


class Parameter(_Frozen):
    """An option of a task type, filled with a literal (or by reference where types allow)."""

    name: str = Field(min_length=1)
    type: ParameterType = "any"
    description: str = ""
    required: bool = False
    default: JsonValue = None
    enum: tuple[JsonValue, ...] | None = None

    @property
    def must_be_given(self) -> bool:
        """Whether a task cannot be run unless something fills this parameter: a default suffices."""
        return self.required and self.default is None


class TaskType(_Frozen):
    """A kind of sub-task: what it does in words, what it takes and what it gives."""

    id: str = Field(min_length=1)
    description: str = ""
    inputs: tuple[Port, ...] = ()
    outputs: tuple[Port, ...] = (Port(name="output"),)
    parameters: tuple[Parameter, ...] = ()

    @property
    def text(self) -> str:
        """The words that stand for this task type: its id split into words, a colon, its description."""
        return describe(self.id, self.description)


class WorkerLimits(_Frozen):
    """What a worker may be asked for at once."""

    max_concurrency: int | None = Field(default=None, ge=1)
    timeout_s: float | None = Field(default=None, gt=0, allow_inf_nan=False)


class WorkerSpec(_Frozen):
    """A worker as the catalog declares it: what it can do and what a call is expected to cost and take."""

    id: str = Field(min_length=1)
    model_type: str = "tool"
    task_types: tuple[str, ...] = ()
    description: str = ""
    cost: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Expected cost of one call, US dollars."""
    latency: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Expected time of one call, seconds."""
    quality: float = Field(default=1.0, ge=0, le=1)
    """Expected share of calls whose result is accepted."""
    limits: WorkerLimits = WorkerLimits()
    connection: Connection | None = None
    """How it is reached; none for a local tool."""


class Link(_Frozen):
    """A directed edge of the tool graph: outputs of `source` are known to be useful to `target`."""

    source: str
    target: str


class Catalog(_Frozen):
    """Task types, the workers that do them, and an optional tool graph. Ids are unique and every name resolves."""

    name: str = "catalog"
    task_types: tuple[TaskType, ...] = ()
    workers: tuple[WorkerSpec, ...] = ()
    links: tuple[Link, ...] = ()

    if not TYPE_CHECKING:  # type checkers keep the signature that pydantic gives

        def __init__(self, **fields: Any):
            try:
                super().__init__(**fields)
            except ValidationError as error:
                raise CatalogError(one_line(error)) from error

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        """A catalog from plain values. Raises pydantic.ValidationError, which names where each wrong field is."""
        catalog = cls.__new__(cls)
        cls.__pydantic_validator__.validate_python(dict(fields), self_instance=catalog)
        return catalog

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        faults = list(self._faults())
        if faults:
            messages = "; ".join(message for message, _ in faults)
            raise CatalogError(f"catalog {self.name!r} has {len(faults)} fault(s): {messages}", faults[0][1])
        return self

    def _faults(self) -> Iterator[tuple[str, tuple[int | str, ...]]]:
        """Each thing that does not hold together, and where it stands."""
        known = self.index
        for name, i in _doubles(t.id for t in self.task_types).items():
            yield f"task type {name!r} stands twice", ("task_types", i)
        for name, i in _doubles(w.id for w in self.workers).items():
            yield f"worker {name!r} stands twice", ("workers", i)
        for i, task_type in enumerate(self.task_types):
            for name in _doubles(p.name for p in (*task_type.inputs, *task_type.parameters)):
                yield f"task type {task_type.id!r} has two inputs named {name!r}", ("task_types", i)
            for name in _doubles(p.name for p in task_type.outputs):
                yield f"task type {task_type.id!r} has two outputs named {name!r}", ("task_types", i)
        for i, worker in enumerate(self.workers):
            for name in worker.task_types:
                if name not in known:
                    yield f"worker {worker.id!r} names the unknown task type {name!r}", ("workers", i)
        for i, link in enumerate(self.links):
            for name in dict.fromkeys((link.source, link.target)):
                if name not in known:
                    message = f"link {link.source!r} -> {link.target!r} names the unknown task type {name!r}"
                    yield message, ("links", i)

    @functools.cached_property
    def index(self) -> dict[str, int]:
        """Task type id → its position."""
        return {t.id: i for i, t in enumerate(self.task_types)}

    def task_type(self, task_type_id: str) -> TaskType:
        """Look a task type up. Raises KeyError naming the id."""
        return self.task_types[self.index[task_type_id]]

    def worker(self, worker_id: str) -> WorkerSpec:
        """Look a worker up. Raises KeyError naming the id."""
        return self._workers_by_id[worker_id]

    def workers_for(self, task_type_id: str) -> tuple[WorkerSpec, ...]:
        """The workers that can do a task type, in catalog order."""
        return self._workers_by_task_type.get(task_type_id, ())

    def has_worker(self, worker_id: str) -> bool:
        """Whether the catalog has a worker of that id."""
        return worker_id in self._workers_by_id

    def can_do(self, worker_id: str, task_type_id: str) -> bool:
        """Whether a worker of the catalog can do a task type. False for ids that the catalog does not have."""
        return task_type_id in self._abilities.get(worker_id, ())

    @functools.cached_property
    def choices(self) -> frozenset[str]:
        """The task types that several workers can do."""
        return frozenset(t for t, workers in self._workers_by_task_type.items() if len(workers) > 1)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with some fields changed, checked like a new catalog. Raises CatalogError."""
        del deep  # nothing in a catalog can change
        return type(self)(**{name: getattr(self, name) for name in type(self).model_fields} | dict(update or {}))

    def restricted_to(self, task_type_ids: AbstractSet[str]) -> Catalog:
        """The part of the catalog with these task types: links and workers' abilities of others are left out, workers
        stay even where nothing is left that they could do. The catalog itself where all of its types are named."""
        if all(t.id in task_type_ids for t in self.task_types):
            return self
        kept = tuple(t for t in self.task_types if t.id in task_type_ids)
        workers = tuple(
            w.model_copy(update={"task_types": tuple(t for t in w.task_types if t in task_type_ids)})
            for w in self.workers
        )
        links = tuple(k for k in self.links if k.source in task_type_ids and k.target in task_type_ids)
        return self.model_copy(update={"task_types": kept, "workers": workers, "links": links})

    def fits(self, source: str, target: str) -> bool:
        """Whether some output of `source` may feed some input of `target` (both task type ids)."""
        outputs, inputs = self.task_type(source).outputs, self.task_type(target).inputs
        return any(types_fit(o.type, i.type) for o in outputs for i in inputs)

    @functools.cached_property
    def _workers_by_id(self) -> dict[str, WorkerSpec]:
        return {w.id: w for w in self.workers}

    @functools.cached_property
    def _abilities(self) -> dict[str, frozenset[str]]:
        return {w.id: frozenset(w.task_types) for w in self.workers}

    @functools.cached_property
    def _workers_by_task_type(self) -> dict[str, tuple[WorkerSpec, ...]]:
        table: dict[str, list[WorkerSpec]] = {}
        for worker in self.workers:
            for task_type_id in dict.fromkeys(worker.task_types):
                table.setdefault(task_type_id, []).append(worker)
        return {k: tuple(v) for k, v in table.items()}


def _doubles(names: Iterable[str]) -> dict[str, int]:
    """The names that stand more than once, each with the position where it stands the second time."""
    seen: set[str] = set()
    doubles: dict[str, int] = {}
    for position, name in enumerate(names):
        if name in seen:
            doubles.setdefault(name, position)
        seen.add(name)
    return doubles


def describe(identifier: str, description: str) -> str:
    """`book_flight`, `Book a flight` → `book flight: Book a flight` (snake, camel, dotted and dashed ids are split)."""
    words: list[str] = []
    word = ""
    for character in identifier:
        if not character.isalnum():
            words.append(word)
            word = ""
        elif character.isupper() and word and not word[-1].isupper():
            words.append(word)
            word = character
        else:
            word += character
    words.append(word)
    name = " ".join(w.lower() for w in words if w)
    return f"{name}: {description}" if description else name
