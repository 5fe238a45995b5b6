"""The catalog: which task types exist, how their inputs and outputs are typed, and which workers can do them."""

from __future__ import annotations

import functools
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

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


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Port(_Frozen):
    """A typed input or output of a task type."""

    name: str = Field(min_length=1)
    type: str = ANY
    description: str = ""
    required: bool = True


class Parameter(_Frozen):
    """An option of a task type, filled with a literal (or by reference where types allow)."""

    name: str = Field(min_length=1)
    type: ParameterType = "any"
    description: str = ""
    required: bool = False
    default: Any = None
    enum: tuple[Any, ...] | None = None


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
    timeout_s: float | None = Field(default=None, gt=0)


class WorkerSpec(_Frozen):
    """A worker as the catalog declares it: what it can do and what a call is expected to cost and take."""

    id: str = Field(min_length=1)
    model_type: str = "tool"
    task_types: tuple[str, ...] = ()
    description: str = ""
    cost: float = Field(default=0.0, ge=0)
    """Expected cost of one call, US dollars."""
    latency: float = Field(default=0.0, ge=0)
    """Expected time of one call, seconds."""
    quality: float = Field(default=1.0, ge=0, le=1)
    """Expected share of calls whose result is accepted."""
    limits: WorkerLimits = WorkerLimits()


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

    def fits(self, source: str, target: str) -> bool:
        """Whether some output of `source` may feed some input of `target` (both task type ids)."""
        outputs, inputs = self.task_type(source).outputs, self.task_type(target).inputs
        return any(types_fit(o.type, i.type) for o in outputs for i in inputs)

    @functools.cached_property
    def _workers_by_id(self) -> dict[str, WorkerSpec]:
        return {w.id: w for w in self.workers}

    @functools.cached_property
    def _workers_by_task_type(self) -> dict[str, tuple[WorkerSpec, ...]]:
        table: dict[str, list[WorkerSpec]] = {}
        for worker in self.workers:
            for task_type_id in worker.task_types:
                table.setdefault(task_type_id, []).append(worker)
        return {k: tuple(v) for k, v in table.items()}


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
