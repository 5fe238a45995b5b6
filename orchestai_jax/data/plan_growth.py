"""Grows plans over any catalog: single tasks, chains, and DAGs of joins, fan-outs, diamonds and parallel branches."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from orchestai_jax.data.plan_draft import CatalogView, Draft, DraftTask, Fill, Upstream
from orchestai_jax.workflow.catalog import Port, TaskType, types_fit

_TRIES = 24
_WEIGHED = 64
_ASSIGNMENTS = 1000
_EXTRA_LITERAL = 0.25
"""How often an optional input is given a literal file."""
_SAME_LITERAL = 0.3
"""How often parallel branches start from the same file."""


class PlanGrower:
    """Grows drafts from a catalog; keeps count of the task types so that all are used about equally often."""

    def __init__(self, view: CatalogView, max_tasks: int) -> None:
        self._view = view
        self._max_tasks = max_tasks
        self._used: Counter[str] = Counter()

    def grow(self, shape: str, rng: np.random.Generator) -> Draft | None:
        """A draft of the shape `node`, `chain` or `dag`, or None where none was found in a few tries."""
        growers: dict[str, Sequence[Callable[[np.random.Generator], Draft | None]]] = {
            "node": (self._node,),
            "chain": (self._chain,),
            "dag": (self._join, self._join, self._fan_out, self._parallel, self._diamond),
        }
        choices = growers[shape]
        for _ in range(_TRIES):
            draft = choices[int(rng.integers(len(choices)))](rng)
            if draft is not None and draft.shape == shape and len(draft.tasks) <= self._max_tasks:
                self._used.update(task.task_type.id for task in draft.tasks)
                return draft
        return None

    def _node(self, rng: np.random.Generator) -> Draft | None:
        return self._branch(Draft(), 1, rng)

    def _chain(self, rng: np.random.Generator) -> Draft | None:
        return self._branch(Draft(), self._length(rng, self._max_tasks), rng)

    def _parallel(self, rng: np.random.Generator) -> Draft | None:
        branches = 2 if self._max_tasks < 4 or rng.random() < 0.8 else 3
        draft: Draft | None = Draft()
        for left in range(branches, 0, -1):
            if draft is None:
                return None
            room = self._max_tasks - len(draft.tasks) - (left - 1)
            draft = self._branch(draft, 1 if rng.random() < 0.6 else min(2, room), rng)
        return draft

    def _fan_out(self, rng: np.random.Generator) -> Draft | None:
        draft = self._branch(Draft(), 1 if self._max_tasks < 4 or rng.random() < 0.7 else 2, rng)
        if draft is None:
            return None
        source = len(draft.tasks) - 1
        for _ in range(2):
            if not self._extend(draft, [source], rng):
                return None
        return draft

    def _diamond(self, rng: np.random.Generator) -> Draft | None:
        draft = self._fan_out(rng)
        if draft is None or len(draft.tasks) >= self._max_tasks:
            return None
        n = len(draft.tasks)
        return draft if self._extend(draft, [n - 2, n - 1], rng) else None

    def _join(self, rng: np.random.Generator) -> Draft | None:
        draft = self._parallel(rng)
        if draft is None or len(draft.tasks) >= self._max_tasks:
            return None
        ends = [i for i in range(len(draft.tasks)) if not draft.consumers(i)]
        if not self._extend(draft, ends, rng):
            return None
        if len(draft.tasks) < self._max_tasks and rng.random() < 0.3:
            self._extend(draft, [len(draft.tasks) - 1], rng)
        return draft

    def _branch(self, draft: Draft, length: int, rng: np.random.Generator) -> Draft | None:
        """Adds a chain of its own, of `length` tasks or as many as can follow one another, at least one."""
        opening = self._pick(self._view.openings(), draft, rng)
        if opening is None:
            return None
        fills = self._view.literal_fills(opening, rng)
        if fills is None:
            return None
        self._share_literal(draft, opening, fills, rng)
        draft.tasks.append(DraftTask(opening, fills))
        for _ in range(length - 1):
            if not self._extend(draft, [len(draft.tasks) - 1], rng):
                break
        return draft

    def _share_literal(self, draft: Draft, opening: TaskType, fills: dict[str, Fill], rng: np.random.Generator) -> None:
        """Starts a branch from a file that an earlier branch has, now and then and where the types are the same."""
        if not draft.tasks or len(fills) != 1 or rng.random() >= _SAME_LITERAL:
            return
        [name] = fills
        types = {p.name: p.type for p in self._view.ports(opening)}
        for task in draft.tasks:
            for port in self._view.ports(task.task_type):
                fill = task.fills.get(port.name)
                if fill is not None and not isinstance(fill, Upstream) and port.type == types[name]:
                    fills[name] = fill
                    return

    def _extend(self, draft: Draft, producers: Sequence[int], rng: np.random.Generator) -> bool:
        """Adds a task that uses the outputs of all `producers`; False where no task type was found that can."""
        sources = [draft.tasks[p].task_type for p in producers]
        candidates = self._view.followers(sources)
        for _ in range(_TRIES):
            candidate = self._pick(candidates, draft, rng)
            if candidate is None:
                return False
            task = self._consumer(candidate, draft, producers, sources, rng)
            if task is not None:
                draft.tasks.append(task)
                return True
        return False

    def _consumer(
        self,
        target: TaskType,
        draft: Draft,
        producers: Sequence[int],
        sources: Sequence[TaskType],
        rng: np.random.Generator,
    ) -> DraftTask | None:
        ports = self._view.ports(target)
        if not ports:
            return DraftTask(target, {}, set(producers))
        orders = itertools.islice(itertools.permutations(ports, len(producers)), _ASSIGNMENTS)
        assignments = [order for order in orders if _fits(order, sources)]
        if not assignments:
            return None
        # Symmetric inputs (first, second) are mostly filled in the order of the tasks.
        chosen = assignments[0] if rng.random() < 0.8 else assignments[int(rng.integers(len(assignments)))]
        fills: dict[str, Fill] = {}
        for port, producer, source in zip(chosen, producers, sources, strict=True):
            fills[port.name] = Upstream(producer, next(o.name for o in source.outputs if types_fit(o.type, port.type)))
        said = {f.say for t in draft.tasks for f in t.fills.values() if not isinstance(f, Upstream)}
        for port in ports:
            if port.name in fills or not (port.required or rng.random() < _EXTRA_LITERAL / len(ports)):
                continue
            pool = [entry for entry in self._view.literals(target, port) if entry.say not in said]
            if pool:
                fills[port.name] = pool[int(rng.integers(len(pool)))]
            elif port.required:
                return None
        return DraftTask(target, {p.name: fills[p.name] for p in ports if p.name in fills})

    def _pick(self, candidates: Sequence[TaskType], draft: Draft, rng: np.random.Generator) -> TaskType | None:
        """A task type that the draft does not have yet; the rarer so far, the likelier. None where there is none.

        Of many candidates a random few are weighed, so that catalogs of thousands stay quick.
        """
        few = candidates
        if len(candidates) > _WEIGHED:
            few = [candidates[int(i)] for i in rng.integers(len(candidates), size=_WEIGHED)]
        present = {task.task_type.id for task in draft.tasks}
        fresh = [c for c in few if c.id not in present]
        if not fresh:
            return None
        weights = np.array([1.0 / (1 + self._used[c.id]) for c in fresh])
        return fresh[int(rng.choice(len(fresh), p=weights / weights.sum()))]

    def _length(self, rng: np.random.Generator, maximum: int) -> int:
        """2, 3, … tasks, each further one half as likely."""
        length = 2
        while length < maximum and rng.random() < 0.5:
            length += 1
        return length


def _fits(ports: Sequence[Port], sources: Sequence[TaskType]) -> bool:
    return all(
        any(types_fit(output.type, port.type) for output in source.outputs)
        for port, source in zip(ports, sources, strict=True)
    )
