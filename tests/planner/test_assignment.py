"""Workers for whole workflows, against trying every choice, and against a bound of the linear relaxation."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from orchestai_jax.planner.assignment import (
    AssignmentError,
    Estimate,
    Limits,
    assign_workers,
    catalog_estimates,
    with_workers,
)
from orchestai_jax.workflow import Catalog, Task, TaskType, WorkerSpec, Workflow, WorkflowError


def workflow_of(edges, n):
    return Workflow(
        instruction="x",
        tasks=tuple(
            Task(id=f"t{i}", task_type="a", depends_on=tuple(f"t{s}" for s, t in edges if t == i)) for i in range(n)
        ),
    )


def makespan(edges, latencies):
    finish = []
    for i, latency in enumerate(latencies):
        finish.append(latency + max((finish[s] for s, t in edges if t == i), default=0.0))
    return max(finish, default=0.0)


@st.composite
def problems(draw, max_tasks=5):
    n = draw(st.integers(1, max_tasks))
    edges = [(s, t) for s, t in itertools.combinations(range(n), 2) if draw(st.booleans())]
    number = st.floats(0.01, 10).map(lambda x: round(x, 2))
    options = [
        [
            Estimate(draw(st.floats(0.2, 1).map(lambda x: round(x, 2))), draw(number), draw(number))
            for _ in range(draw(st.integers(1, 3)))
        ]
        for _ in range(n)
    ]
    return edges, options


def estimates_of(options):
    return {f"t{i}": {f"w{j}": e for j, e in enumerate(own)} for i, own in enumerate(options)}


def every_choice(edges, options):
    for choice in itertools.product(*options):
        yield (
            sum(e.cost for e in choice),
            makespan(edges, [e.latency for e in choice]),
            math.prod(e.success for e in choice),
        )


@settings(max_examples=80, deadline=None)
@given(problems(), st.floats(0.1, 1.2), st.floats(0.1, 1.2), st.booleans())
def test_as_good_as_the_best_of_all_choices(problem, tightness, strictness, by_cost):
    edges, options = problem
    every = list(every_choice(edges, options))
    slowest, dearest = max(e[1] for e in every), max(e[0] for e in every)
    best_success = max(e[2] for e in every)
    limits = Limits(
        deadline=slowest * tightness if by_cost else None,
        budget=None if by_cost else dearest * tightness,
        least_success=min(best_success * strictness, 1.0),
    )
    kept = [
        e
        for e in every
        if (limits.deadline is None or e[1] <= limits.deadline + 1e-9)
        and (limits.budget is None or e[0] <= limits.budget + 1e-9)
        and e[2] >= limits.least_success * (1 - 1e-9)
    ]
    workflow, estimates = workflow_of(edges, len(options)), estimates_of(options)
    minimise = "cost" if by_cost else "latency"
    if not kept:
        with pytest.raises(AssignmentError, match="no choice of workers"):
            assign_workers(workflow, estimates, minimise=minimise, limits=limits)
        return
    found = assign_workers(workflow, estimates, minimise=minimise, limits=limits)
    index = 0 if by_cost else 1
    least = min(e[index] for e in kept)
    equal = [e[1 - index] for e in kept if e[index] <= least * (1 + 1e-9)]
    assert (found.latency, found.cost)[index] <= min(equal) * (1 + 1e-5)
    assert (found.cost, found.latency)[index] == pytest.approx(min(e[index] for e in kept), rel=1e-5)
    assert found.optimal
    assert found.bound == pytest.approx(min(e[index] for e in kept), rel=1e-4)
    # What is said of the answer is what its workers give.
    picked = [estimates[f"t{i}"][found.workers[f"t{i}"]] for i in range(len(options))]
    assert found.cost == pytest.approx(sum(e.cost for e in picked))
    assert found.latency == pytest.approx(makespan(edges, [e.latency for e in picked]))
    assert found.success == pytest.approx(math.prod(e.success for e in picked))
    assert limits.deadline is None or found.latency <= limits.deadline * (1 + 1e-5)
    assert limits.budget is None or found.cost <= limits.budget * (1 + 1e-5)


def test_slow_workers_go_where_nobody_waits_for_them():
    edges = [(0, 1), (2, 3)]
    fast, slow = Estimate(1, 10, 1), Estimate(1, 1, 5)
    options = [[fast, slow], [fast, slow], [fast, slow], [Estimate(1, 0, 0.5)]]
    found = assign_workers(workflow_of(edges, 4), estimates_of(options), limits=Limits(deadline=6))
    assert found.latency <= 6
    assert found.cost == 10 + 1 + 1  # one of t0 and t1 is hurried, t2 is not
    assert found.workers["t2"] == "w1"


def test_a_large_workflow_comes_with_a_bound_that_holds():
    rng = np.random.default_rng(0)
    n, m = 300, 4
    edges = sorted({(int(rng.integers(max(0, t - 12), t)), t) for t in range(1, n) for _ in range(2)})
    latency = rng.uniform(1, 10, (n, m))
    cost = 10 / latency * rng.uniform(0.8, 1.2, (n, m))
    options = [[Estimate(0.9, cost[i, j], latency[i, j]) for j in range(m)] for i in range(n)]
    shortest, longest = makespan(edges, latency.min(1)), makespan(edges, latency.max(1))
    deadline = (shortest + longest) / 2
    found = assign_workers(
        workflow_of(edges, n), estimates_of(options), limits=Limits(deadline=deadline), gap=0.02, time_limit_s=30
    )
    assert found.latency <= deadline * (1 + 1e-5)
    assert found.cost <= found.bound * 1.02 + 1e-9
    # The relaxation, in another form (finish times, dense, no scaling): its value can be no more than the bound's cost.
    rows, right = [], []
    for s, t in edges:  # finish[s] + latency[t] <= finish[t]
        row = np.zeros(n * m + n)
        row[t * m : (t + 1) * m], row[n * m + s], row[n * m + t] = latency[t], 1, -1
        rows.append(row)
        right.append(0.0)
    for t in range(n):
        row = np.zeros(n * m + n)
        row[t * m : (t + 1) * m], row[n * m + t] = latency[t], -1
        rows.append(row)
        right.append(0.0)
    equal = np.zeros((n, n * m + n))
    for t in range(n):
        equal[t, t * m : (t + 1) * m] = 1
    relaxed = optimize.linprog(
        np.concatenate([cost.ravel(), np.zeros(n)]),
        A_ub=np.array(rows),
        b_ub=right,
        A_eq=equal,
        b_eq=np.ones(n),
        bounds=[(0, 1)] * (n * m) + [(0, deadline)] * n,
    )
    assert relaxed.fun * (1 - 1e-5) <= found.cost
    assert found.cost <= relaxed.fun * 1.1


@pytest.mark.parametrize(
    "limits, said",
    [
        (Limits(deadline=1), "the fastest workers take 2 s, the deadline is 1 s"),
        (Limits(budget=0.5), r"the cheapest workers cost \$2, the budget is \$0.5"),
        (Limits(least_success=0.9), "the best workers succeed with 0.81, wanted is 0.9"),
    ],
)
def test_what_cannot_be_met_is_named(limits, said):
    options = [[Estimate(0.9, 1, 1)], [Estimate(0.9, 1, 1)]]
    with pytest.raises(AssignmentError, match=said):
        assign_workers(workflow_of([(0, 1)], 2), estimates_of(options), limits=limits)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_limits_are_kept_relative_to_themselves_however_dear_or_slow_other_workers_are(scale):
    cheap, dear = Estimate(0.9, 0.4 * scale, 0.9 * scale), Estimate(0.9, 0.9 * scale, 0.4 * scale)
    hopeless = Estimate(1.0, 1e7 * scale, 1e7 * scale)
    fastest, cheapest = Estimate(0.9, 1e7 * scale, 0.01 * scale), Estimate(0.9, 0.01 * scale, 1e7 * scale)
    workflow, options = workflow_of([(0, 1)], 2), [[cheap, dear, hopeless, fastest, cheapest]] * 2
    found = assign_workers(workflow, estimates_of(options), minimise="latency", limits=Limits(budget=1.0 * scale))
    assert found.cost == pytest.approx(0.8 * scale)
    assert found.optimal
    assert found.bound == pytest.approx(found.latency)
    found = assign_workers(workflow, estimates_of(options), minimise="cost", limits=Limits(deadline=1.0 * scale))
    assert found.latency == pytest.approx(0.8 * scale)
    assert found.bound == pytest.approx(found.cost)
    with pytest.raises(AssignmentError, match="the cheapest workers cost"):
        assign_workers(workflow, estimates_of([[cheap, dear]] * 2), limits=Limits(budget=0.7999 * scale))
    with pytest.raises(AssignmentError, match="the fastest workers take"):
        assign_workers(workflow, estimates_of([[cheap, dear]] * 2), limits=Limits(deadline=0.7999 * scale))


def test_a_sum_that_misses_its_limit_by_rounding_meets_it():
    options = [[Estimate(1, 0.1, 0.1)]] * 3
    edges = [(0, 1), (1, 2)]
    found = assign_workers(workflow_of(edges, 3), estimates_of(options), limits=Limits(deadline=0.3, budget=0.3))
    assert found.cost == pytest.approx(0.3)
    nothing = [[Estimate(1, 0.0, 0.0), Estimate(1, 0.5, 0.5)]]
    found = assign_workers(workflow_of([], 1), estimates_of(nothing), limits=Limits(deadline=0.0, budget=0.0))
    assert (found.cost, found.latency) == (0.0, 0.0)


def test_limits_that_can_be_met_only_one_at_a_time():
    options = [[Estimate(1, 1, 10), Estimate(1, 10, 1)]]
    with pytest.raises(AssignmentError, match="all limits together"):
        assign_workers(workflow_of([], 1), estimates_of(options), limits=Limits(deadline=2, budget=2))


def test_wrong_use_is_refused():
    one = workflow_of([], 1)
    with pytest.raises(ValueError, match="t0 has no estimates"):
        assign_workers(one, {})
    with pytest.raises(ValueError, match=r"worker w for task t0 is success 1\.5"):
        assign_workers(one, {"t0": {"w": Estimate(1.5, 0, 0)}})
    with pytest.raises(ValueError, match="finite"):
        assign_workers(one, {"t0": {"w": Estimate(1, math.nan, 0)}})
    with pytest.raises(ValueError, match="'cost' or 'latency'"):
        assign_workers(one, {"t0": {"w": Estimate(1, 0, 0)}}, minimise="time")
    for wrong in ({"deadline": -1}, {"budget": math.inf}, {"least_success": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Limits(**wrong)


def test_nothing_to_do_and_nothing_to_pay():
    assert assign_workers(workflow_of([], 0), {}).workers == {}
    free = assign_workers(workflow_of([], 1), {"t0": {"w": Estimate(1, 0, 0)}}, limits=Limits(deadline=0, budget=0))
    assert (free.cost, free.latency, free.workers) == (0, 0, {"t0": "w"})


def test_from_a_catalog_and_back_into_the_workflow():
    catalog = Catalog(
        task_types=(TaskType(id="a"),),
        workers=(
            WorkerSpec(id="cheap", task_types=("a",), cost=0.1, latency=9, quality=0.8),
            WorkerSpec(id="quick", task_types=("a",), cost=5, latency=1, quality=0.9),
        ),
    )
    workflow = workflow_of([(0, 1)], 2)
    estimates = catalog_estimates(workflow, catalog)
    assert estimates["t1"]["quick"] == Estimate(0.9, 5, 1)
    found = assign_workers(workflow, estimates, minimise="latency", limits=Limits(budget=6))
    assert sorted(t.worker for t in with_workers(workflow, found.workers).tasks) == ["cheap", "quick"]
    with pytest.raises(WorkflowError, match="t1"):
        with_workers(workflow, {"t0": "cheap"})


def test_of_choices_that_cost_the_same_the_faster_one():
    options = [[Estimate(0.9, 1, 9), Estimate(0.8, 1, 2)], [Estimate(1, 3, 4), Estimate(0.9, 1, 4)]]
    found = assign_workers(workflow_of([(0, 1)], 2), estimates_of(options))
    assert (found.cost, found.latency) == (2, 6)
    found = assign_workers(workflow_of([(0, 1)], 2), estimates_of(options), minimise="latency")
    assert (found.cost, found.latency) == (2, 6)
