"""Orders over a workflow's tasks: topological order, levels, the critical path.

An edge is a dependency that is declared (`depends_on`) or implied by a reference to another task's output.
All functions take O(tasks + edges), but for a logarithm, and raise WorkflowError for a workflow that is not a DAG: a
cycle (its tasks are named), a task id used twice, a dependency on a task that does not exist.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Mapping

from orchestai_jax.workflow.faults import Fault, FaultCode, WorkflowError
from orchestai_jax.workflow.workflow import Reference, Task, Workflow


def predecessors(task: Task) -> tuple[str, ...]:
    """The ids of the tasks that must be done before `task`: those it depends on, then those it only references."""
    referenced = [a.task for a in task.arguments.values() if isinstance(a, Reference)]
    if not referenced and len(task.depends_on) < 2:
        return task.depends_on
    return tuple(dict.fromkeys((*task.depends_on, *referenced)))


def topological_order(workflow: Workflow) -> list[str]:
    """Task ids, producers first; among the tasks that could come next, the one listed first in the workflow.

    A workflow whose tasks are already in a topological order keeps its order.
    """
    graph = _graph(workflow)
    position = {task_id: i for i, task_id in enumerate(graph)}
    consumers: dict[str, list[str]] = {task_id: [] for task_id in graph}
    waiting_for = {task_id: len(before) for task_id, before in graph.items()}
    for task_id, before in graph.items():
        for producer in before:
            consumers[producer].append(task_id)
    ready = [position[task_id] for task_id, count in waiting_for.items() if count == 0]  # ascending, hence a heap
    order = []
    while ready:
        task_id = workflow.tasks[heapq.heappop(ready)].id
        order.append(task_id)
        for consumer in consumers[task_id]:
            waiting_for[consumer] -= 1
            if waiting_for[consumer] == 0:
                heapq.heappush(ready, position[consumer])
    return order


def levels(workflow: Workflow) -> list[list[str]]:
    """Task ids by level: level 0 waits for nothing, every other task is one below its deepest predecessor.

    The tasks of a level may run at the same time; they are in the workflow's order.
    """
    graph = _graph(workflow)
    level: dict[str, int] = {}
    for task_id in topological_order(workflow):
        level[task_id] = 1 + max((level[p] for p in graph[task_id]), default=-1)
    result: list[list[str]] = [[] for _ in range(1 + max(level.values(), default=-1))]
    for task_id in graph:
        result[level[task_id]].append(task_id)
    return result


def critical_path(workflow: Workflow, durations: Mapping[str, float]) -> tuple[list[str], float]:
    """The chain of tasks that takes longest, and its length: no number of workers finishes the workflow sooner.

    `durations` gives each task's time in seconds by task id. Raises ValueError for a task without a duration, or with
    one that is negative or not finite. An empty workflow has the path ([], 0.0).
    """
    graph = _graph(workflow)
    finish: dict[str, float] = {}
    came_from: dict[str, str | None] = {}
    for task_id in topological_order(workflow):
        if task_id not in durations:
            raise ValueError(f"durations has no entry for task {task_id!r}; every task of the workflow needs one")
        duration = durations[task_id]
        if not 0 <= duration < math.inf:
            raise ValueError(f"durations[{task_id!r}] is {duration}; it must be seconds, finite and 0 or more")
        last = max(graph[task_id], key=finish.__getitem__, default=None)
        came_from[task_id] = last
        finish[task_id] = duration + (finish[last] if last is not None else 0.0)
    if not finish:
        return [], 0.0
    end: str | None = max(finish, key=finish.__getitem__)
    length, path = finish[end], []
    while end is not None:
        path.append(end)
        end = came_from[end]
    return path[::-1], length


def find_cycles(graph: Mapping[str, tuple[str, ...]]) -> list[list[str]]:
    """Cycles that share no task, as many as it takes for every cycle of the graph to share a task with one of them.

    A cycle is the task ids along it, producer before consumer, the first repeated at the end. `graph` maps each task id
    to the ids that come before it. The search goes depth first and leaves out the tasks of cycles that it has found.
    """
    cycles: list[list[str]] = []
    seen: set[str] = set()
    for start in graph:
        if start in seen:
            continue
        seen.add(start)
        # The way from `start` to its producer, to that one's producer and so on, each with its producers still to see.
        path: dict[str, Iterator[str]] = {start: iter(graph[start])}
        while path:
            producer = next(path[next(reversed(path))], None)
            if producer is None:
                path.popitem()
            elif producer in path:
                cycle = [producer]
                while producer in path:
                    cycle.append(path.popitem()[0])
                cycles.append(cycle)
            elif producer not in seen:
                seen.add(producer)
                path[producer] = iter(graph[producer])
    return cycles


def cycle_message(cycle: list[str]) -> str:
    """What is wrong with a cycle that `find_cycles` found, its first tasks by name."""
    shown = " -> ".join(map(repr, cycle)) if len(cycle) <= 12 else " -> ".join([*map(repr, cycle[:11]), "..."])
    return f"tasks {shown} form a cycle of {len(cycle) - 1}; a workflow must be acyclic"


def _graph(workflow: Workflow) -> dict[str, tuple[str, ...]]:
    """Task id to the ids before it, for a workflow that is a DAG. Raises WorkflowError for one that is not."""
    graph = {task.id: predecessors(task) for task in workflow.tasks}
    if len(graph) < len(workflow.tasks):
        seen: set[str] = set()
        double = next(t.id for t in workflow.tasks if t.id in seen or seen.add(t.id))  # pyright: ignore
        raise _not_a_dag("duplicate_task", f"two tasks have the id {double!r}; ids must be unique", double)
    for task_id, before in graph.items():
        for producer in before:
            if producer not in graph:
                raise _not_a_dag("unknown_dependency", f"{task_id!r} needs {producer!r}, which is no task", task_id)
    cycles = find_cycles(graph)
    if cycles:
        raise _not_a_dag("cycle", cycle_message(cycles[0]), cycles[0][0])
    return graph


def _not_a_dag(code: FaultCode, message: str, task: str) -> WorkflowError:
    return WorkflowError(f"the workflow has no order: {message}", [Fault(code, message, task)])
