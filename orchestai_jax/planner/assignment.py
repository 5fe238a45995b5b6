"""Workers for a whole workflow: the cheapest under a deadline, or the fastest under a budget.

A choice for one task changes what the others may take: on the critical path a slow worker costs everybody, off it
nobody. The problem (the discrete time-cost trade-off problem, De et al. 1995, NP-hard) is solved as a mixed-integer
linear program by HiGHS through scipy: with a binary x[t, w] for each worker w that can do task t and a start s[t],

    minimise sum x[t, w] cost[t, w]   (or the makespan)
    sum over w of x[t, w] = 1,   s[t] + sum over w of x[t, w] latency[t, w] <= s[u]  for each edge t -> u,  <= deadline.

Small workflows are solved exactly; large ones until the gap or the time limit is reached, and the bound that the solver
proved comes with the answer.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence

from orchestai_jax.workflow import Catalog, Workflow, WorkflowError, critical_path, predecessors

_LEAST_SUCCESS = 1e-9
"""A worker that never succeeds has log-probability of success log(1e-9), not minus infinity."""
_SLACK = 1e-6
"""Share of a limit by which a floating-point sum, or the solver's tolerance, may miss it."""


class AssignmentError(ValueError):
    """No choice of workers meets the limits. The message says what the least possible is."""


@dataclasses.dataclass(frozen=True, slots=True)
class Estimate:
    """What one worker is expected to do on one task."""

    success: float
    """Probability of success, in [0, 1]."""
    cost: float
    """US dollars, finite and at least 0."""
    latency: float
    """Seconds, finite and at least 0."""


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """What the whole workflow may take. Nothing is limited where nothing is given."""

    deadline: float | None = None
    """Most seconds on the critical path."""
    budget: float | None = None
    """Most US dollars."""
    least_success: float | None = None
    """Least probability that every task succeeds, taken as independent; in (0, 1]."""

    def __post_init__(self):
        for name, value in (("deadline", self.deadline), ("budget", self.budget)):
            if value is not None and not 0 <= value < math.inf:
                raise ValueError(f"{name} is {value}; it must be finite and at least 0")
        if self.least_success is not None and not 0 < self.least_success <= 1:
            raise ValueError(f"least_success is {self.least_success}; it must be above 0 and at most 1")


@dataclasses.dataclass(frozen=True, slots=True)
class Assignment:
    """Workers for every task, and what the workflow is expected to take with them."""

    workers: Mapping[str, str]
    """Task id to worker id."""
    cost: float
    """Sum over the tasks, US dollars."""
    latency: float
    """Length of the critical path, seconds."""
    success: float
    """Product over the tasks."""
    bound: float
    """No choice that meets the limits has less of what was minimised than this."""
    optimal: bool
    """Whether nothing better exists, within the gap that was allowed."""


def assign_workers(
    workflow: Workflow,
    estimates: Mapping[str, Mapping[str, Estimate]],
    *,
    minimise: str = "cost",
    limits: Limits = Limits(),
    gap: float = 0.0,
    time_limit_s: float = 10.0,
) -> Assignment:
    """Choose a worker for every task of a workflow at once.

    Args:
        workflow: a DAG; the workers it already has are not looked at.
        estimates: task id to worker id to what that worker is expected to do; each task needs at least one.
        minimise: "cost" or "latency"; among choices that are equal in it, the other is minimised too.
        limits: what the answer must keep to.
        gap: relative distance from the bound at which the search may stop (0 = to the end).
        time_limit_s: seconds after which the best found so far is returned with `optimal` False.

    Raises:
        AssignmentError: no choice meets the limits, or none was found within the time limit.
        ValueError: a task has no estimates, an estimate is out of range, or `minimise` is neither of the two.
        WorkflowError: the workflow is not a DAG.
    """
    if minimise not in ("cost", "latency"):
        raise ValueError(f"minimise is {minimise!r}; it must be 'cost' or 'latency'")
    critical_path(workflow, {task.id: 0.0 for task in workflow.tasks})  # refuses what is not a DAG
    if not workflow.tasks:
        return Assignment({}, 0.0, 0.0, 1.0, 0.0, True)
    options = [_options(task.id, estimates.get(task.id, {})) for task in workflow.tasks]
    solved = _solve(workflow, options, minimise, limits, gap, time_limit_s)
    if solved is None:
        raise AssignmentError(_why_not(workflow, options, limits, time_limit_s))
    chosen, bound, optimal = solved
    if optimal:  # of the choices that are equal in what was minimised, one of least of the other
        kept, other = _keeping(chosen, workflow, options, minimise, limits)
        again = _solve(workflow, options, other, kept, gap, time_limit_s)
        chosen = again[0] if again is not None else chosen
    picked = [own[i] for own, i in zip(options, chosen, strict=True)]
    cost, latency = _totals(workflow, picked)
    return Assignment(
        workers={task.id: worker for task, (worker, _) in zip(workflow.tasks, picked, strict=True)},
        cost=cost,
        latency=latency,
        success=math.prod(estimate.success for _, estimate in picked),
        bound=bound,
        optimal=optimal,
    )


def catalog_estimates(workflow: Workflow, catalog: Catalog) -> dict[str, dict[str, Estimate]]:
    """What the catalog declares of each worker that can do each task: quality as success, cost, latency."""
    return {
        task.id: {
            w.id: Estimate(success=w.quality, cost=w.cost, latency=w.latency)
            for w in catalog.workers_for(task.task_type)
        }
        for task in workflow.tasks
    }


def with_workers(workflow: Workflow, workers: Mapping[str, str]) -> Workflow:
    """The same workflow with other workers. Raises WorkflowError for a task that `workers` does not name."""
    missing = [task.id for task in workflow.tasks if task.id not in workers]
    if missing:
        raise WorkflowError(f"no worker is given for the tasks {', '.join(missing)}", [])
    tasks = tuple(task.model_copy(update={"worker": workers[task.id]}) for task in workflow.tasks)
    return workflow.model_copy(update={"tasks": tasks})


_Options = Sequence[tuple[str, Estimate]]


def _totals(workflow: Workflow, picked: _Options) -> tuple[float, float]:
    """Cost and critical path with one option picked for each task, in the workflow's order."""
    latencies = {task.id: estimate.latency for task, (_, estimate) in zip(workflow.tasks, picked, strict=True)}
    return math.fsum(estimate.cost for _, estimate in picked), critical_path(workflow, latencies)[1]


def _keeping(
    chosen: Sequence[int], workflow: Workflow, options: Sequence[_Options], minimise: str, limits: Limits
) -> tuple[Limits, str]:
    """The limits that keep what was minimised where it is, and what is minimised next."""
    cost, latency = _totals(workflow, [own[i] for own, i in zip(options, chosen, strict=True)])
    if minimise == "cost":
        return dataclasses.replace(limits, budget=cost), "latency"
    return dataclasses.replace(limits, deadline=latency), "cost"


def _options(task_id: str, estimates: Mapping[str, Estimate]) -> _Options:
    if not estimates:
        raise ValueError(f"task {task_id} has no estimates: no worker can do it")
    for worker, e in estimates.items():
        if not 0 <= e.success <= 1 or not 0 <= e.cost < math.inf or not 0 <= e.latency < math.inf:
            raise ValueError(
                f"the estimate of worker {worker} for task {task_id} is success {e.success}, cost {e.cost}, latency "
                f"{e.latency}; success lies in [0, 1], cost and latency are finite and at least 0"
            )
    return _undominated(estimates.items())


def _undominated(options: Iterable[tuple[str, Estimate]]) -> _Options:
    """Without the workers that another is at least as good as in everything; of equals the first stays."""
    kept: list[tuple[str, Estimate]] = []
    for worker, e in options:

        def beats(other: Estimate, than: Estimate) -> bool:
            return other.success >= than.success and other.cost <= than.cost and other.latency <= than.latency

        if not any(beats(k, e) for _, k in kept):
            kept = [(name, k) for name, k in kept if not beats(e, k)]
            kept.append((worker, e))
    return kept


def _solve(
    workflow: Workflow, options: Sequence[_Options], minimise: str, limits: Limits, gap: float, time_limit_s: float
) -> tuple[list[int], float, bool] | None:
    """The chosen option of each task, the proved bound, and whether the answer is optimal; None where none was found.

    Variables: one a (task, option), then the starts of the tasks, then the makespan.
    """
    import numpy as np
    from scipy import optimize, sparse

    offsets = np.concatenate([[0], np.cumsum([len(own) for own in options])])
    num_choices, num_tasks = int(offsets[-1]), len(options)
    makespan = num_choices + num_tasks
    flat = [estimate for own in options for _, estimate in own]
    cost, latency = np.array([e.cost for e in flat]), np.array([e.latency for e in flat])
    # What alone is over a limit is out. The largest that is left is the unit: the solver's tolerances are absolute, and
    # next to a worker that nobody could pay, a limit would be among them.
    possible = (cost <= _most(limits.budget)) & (latency <= _most(limits.deadline))
    cost, latency = np.where(possible, cost, 0.0), np.where(possible, latency, 0.0)
    money, time = max(float(cost.max()), 1e-300), max(float(latency.max()), 1e-300)
    cost, latency = cost / money, latency / time
    row_entries: list[tuple[list[int], list[float]]] = []
    lower: list[float] = []
    upper: list[float] = []

    def add(columns: Iterable[int], values: Iterable[float], low: float, high: float) -> None:
        row_entries.append((list(columns), list(values)))
        lower.append(low)
        upper.append(high)

    position = {task.id: i for i, task in enumerate(workflow.tasks)}
    followed = {position[p] for task in workflow.tasks for p in predecessors(task)}
    for t, task in enumerate(workflow.tasks):
        own = range(int(offsets[t]), int(offsets[t + 1]))
        add(own, [1.0] * len(own), 1.0, 1.0)
        for p in map(position.__getitem__, predecessors(task)):  # s[t] - s[p] - latency of p >= 0
            of_p = range(int(offsets[p]), int(offsets[p + 1]))
            add([num_choices + t, num_choices + p, *of_p], [1.0, -1.0, *(-latency[i] for i in of_p)], 0.0, np.inf)
        if t not in followed:
            add([makespan, num_choices + t, *own], [1.0, -1.0, *(-latency[i] for i in own)], 0.0, np.inf)
    if limits.budget is not None:
        add(range(num_choices), cost, -np.inf, _most(limits.budget) / money)
    if limits.least_success is not None:
        logs = [math.log(max(e.success, _LEAST_SUCCESS)) for e in flat]
        add(range(num_choices), logs, math.log(limits.least_success) - 1e-9, np.inf)
    goal = np.zeros(makespan + 1)
    if minimise == "cost":
        goal[:num_choices] = cost
    else:
        goal[makespan] = 1.0
    high = np.full(makespan + 1, np.inf)
    high[:num_choices] = possible
    if limits.deadline is not None:
        high[makespan] = _most(limits.deadline) / time
    integrality = np.zeros(makespan + 1)
    integrality[:num_choices] = 1
    matrix = sparse.csr_array(
        (
            np.array([v for _, values in row_entries for v in values]),
            np.array([c for columns, _ in row_entries for c in columns]),
            np.cumsum([0, *(len(columns) for columns, _ in row_entries)]),
        ),
        shape=(len(row_entries), makespan + 1),
    )
    # scipy's declared types say float where its documentation says arrays
    bounds = optimize.Bounds(np.zeros(makespan + 1), high)  # pyright: ignore[reportArgumentType]
    rows = optimize.LinearConstraint(matrix, np.array(lower), np.array(upper))  # pyright: ignore[reportArgumentType]
    result = optimize.milp(
        goal,
        integrality=integrality,
        bounds=bounds,
        constraints=rows,
        options={"time_limit": time_limit_s, "mip_rel_gap": gap},
    )
    if result.x is None:
        return None
    chosen = [int(np.argmax(result.x[offsets[t] : offsets[t + 1]])) for t in range(num_tasks)]
    unit = money if minimise == "cost" else time
    bound = float(result.mip_dual_bound) * unit if result.mip_dual_bound is not None else 0.0
    return chosen, bound, result.status == 0


def _most(limit: float | None) -> float:
    return math.inf if limit is None else limit * (1 + _SLACK)


def _why_not(workflow: Workflow, options: Sequence[_Options], limits: Limits, time_limit_s: float) -> str:
    """One line on what cannot be met, with the least that is possible of each limit taken alone."""
    fastest = {t.id: min(e.latency for _, e in own) for t, own in zip(workflow.tasks, options, strict=True)}
    least_time = critical_path(workflow, fastest)[1]
    least_cost = math.fsum(min(e.cost for _, e in own) for own in options)
    most_success = math.prod(max(e.success for _, e in own) for own in options)
    faults = []
    if limits.deadline is not None and least_time > _most(limits.deadline):
        faults.append(f"the fastest workers take {least_time:.4g} s, the deadline is {limits.deadline:g} s")
    if limits.budget is not None and least_cost > _most(limits.budget):
        faults.append(f"the cheapest workers cost ${least_cost:.4g}, the budget is ${limits.budget:g}")
    if limits.least_success is not None and most_success < limits.least_success:
        faults.append(f"the best workers succeed with {most_success:.4g}, wanted is {limits.least_success:g}")
    if faults:
        return "no choice of workers meets the limits: " + "; ".join(faults)
    alone = f"alone, {least_time:.4g} s, ${least_cost:.4g} and success {most_success:.4g} are possible"
    return f"no choice of workers that meets all limits together was found in {time_limit_s:g} s ({alone})"
