"""Runs that share the workers' limits."""

import asyncio

import pytest

from orchestai_jax.execution import BreakerPolicy, Gates, RunPolicies, execute
from orchestai_jax.execution.gates import Breaker
from orchestai_jax.workers import Output
from orchestai_jax.workflow import WorkerLimits


class Counter:
    """How many calls are inside at once, over all runs."""

    def __init__(self):
        self.inside = self.most = self.calls = 0

    async def __call__(self, task_type, arguments, context):
        self.inside += 1
        self.calls += 1
        self.most = max(self.most, self.inside)
        for _ in range(3):
            await asyncio.sleep(0)
        self.inside -= 1
        return Output(values={"value": 1})


def run_bounded(scenario):
    async def bounded():
        async with asyncio.timeout(30):
            return await scenario()

    return asyncio.run(bounded())


def start(make, tmp_path, worker, gates, name, tasks=8, **options):
    workflow = make.plan(*(make.step(f"t{i}") for i in range(tasks)))
    options = {"root": tmp_path, "output_folder": name, "gates": gates, **options}
    return execute(workflow, make.catalog(worker), {"w": worker}, **options)


@pytest.mark.parametrize("share", [True, False])
def test_runs_share_a_workers_limit_where_they_share_the_gates(make, tmp_path, share):
    counter = Counter()
    worker = make.worker(counter, limits=WorkerLimits(max_concurrency=2))

    async def scenario():
        gates = Gates() if share else None
        return await asyncio.gather(*(start(make, tmp_path, worker, gates, f"r{i}") for i in range(5)))

    records = run_bounded(scenario)
    assert {r.status for r in records} == {"succeeded"}
    assert counter.calls == 40
    assert (counter.most == 2) is share


def test_a_run_that_is_stopped_passes_its_turn_on(make, tmp_path):
    """A run that was told of a free place and then ends must not leave the others waiting."""
    entered, go_on = asyncio.Event(), asyncio.Event()

    async def work(task_type, arguments, context):
        entered.set()
        await go_on.wait()
        return Output(values={"value": 1})

    worker = make.worker(work, limits=WorkerLimits(max_concurrency=1))

    async def scenario():
        gates = Gates()
        runs = [asyncio.create_task(start(make, tmp_path, worker, gates, f"r{i}", tasks=3)) for i in range(4)]
        await entered.wait()
        for _ in range(5):
            await asyncio.sleep(0)
        go_on.set()
        await asyncio.sleep(0)
        runs[1].cancel()
        runs[2].cancel()
        return await asyncio.gather(*runs, return_exceptions=True)

    first, second, third, fourth = run_bounded(scenario)
    assert first.status == fourth.status == "succeeded"
    assert isinstance(second, asyncio.CancelledError)
    assert isinstance(third, asyncio.CancelledError)


def test_nobody_starves_nobody_hangs_with_many_runs_and_workers(make, tmp_path):
    counters = [Counter() for _ in range(3)]
    workers = [make.worker(c, f"w{i}", limits=WorkerLimits(max_concurrency=i + 1)) for i, c in enumerate(counters)]
    catalog = make.catalog(*workers)

    async def one(number, gates):
        tasks = [make.step(f"t{i}", *([f"t{i - 3}"] if i > 3 else []), worker=f"w{i % 3}") for i in range(15)]
        return await execute(
            make.plan(*tasks),
            catalog,
            {w.spec.id: w for w in workers},
            root=tmp_path,
            output_folder=f"r{number}",
            gates=gates,
            max_concurrency=2,
        )

    async def scenario():
        gates = Gates()
        return await asyncio.gather(*(one(number, gates) for number in range(20)))

    assert {r.status for r in run_bounded(scenario)} == {"succeeded"}
    assert [c.most for c in counters] == [1, 2, 3]
    assert sum(c.calls for c in counters) == 300


def test_gates_cannot_be_shared_under_other_limits(make, tmp_path):
    worker = make.worker()

    async def scenario():
        gates = Gates()
        await start(make, tmp_path, worker, gates, "a")
        other = RunPolicies.model_validate({"workers": {"w": {"rate": {"requests_per_minute": 5}}}})
        with pytest.raises(ValueError, match="worker 'w' is shared under"):
            await start(make, tmp_path, worker, gates, "b", policies=other)

    run_bounded(scenario)


def test_a_breaker_lets_one_call_through_after_its_rest(jumping_loop):
    async def scenario():
        breaker = Breaker(BreakerPolicy(failures=2, rest_s=10.0))
        breaker.failed(breaker.begin())
        assert breaker.rests_for() == 0.0
        breaker.failed(breaker.begin())
        assert breaker.rests_for() == 10.0
        await asyncio.sleep(10)
        assert breaker.rests_for() == 0.0
        probe = breaker.begin()
        assert breaker.rests_for() == 10.0  # the probe decides; nobody else calls meanwhile
        breaker.gave_up(probe)
        assert breaker.rests_for() == 0.0  # it said nothing: the next is the probe
        breaker.failed(breaker.begin())
        assert breaker.rests_for() == 10.0
        await asyncio.sleep(10)
        breaker.succeeded(breaker.begin())
        breaker.failed(breaker.begin())
        assert breaker.rests_for() == 0.0

    with asyncio.Runner(loop_factory=jumping_loop) as runner:
        runner.run(scenario())


def test_a_free_worker_does_not_wait_for_a_run_that_has_no_place(make, tmp_path):
    """Run `a` is told that `w` is free while its only place is taken by a call of `long`: run `b` has its turn."""
    order, release_first, release_long = [], asyncio.Event(), asyncio.Event()

    async def work(task_type, arguments, context):
        order.append(context.task_id)
        if context.task_id == "first":
            await release_first.wait()
        return Output(values={"value": 1})

    async def long(task_type, arguments, context):
        order.append(context.task_id)
        await release_long.wait()
        return Output(values={"value": 1})

    shared, other = make.worker(work, "w", limits=WorkerLimits(max_concurrency=1)), make.worker(long, "long")
    workers = {"w": shared, "long": other}

    async def one(name, gates, *tasks, places=1):
        return await execute(
            make.plan(*tasks),
            make.catalog(shared, other),
            workers,
            root=tmp_path,
            output_folder=name,
            gates=gates,
            max_concurrency=places,
        )

    async def turns(n=20):
        for _ in range(n):
            await asyncio.sleep(0)

    async def scenario():
        gates = Gates()
        runs = [asyncio.create_task(one("0", gates, make.step("first", worker="w")))]
        await turns()
        for name in ("a", "b"):
            tasks = [make.step(f"{name}-w", worker="w"), make.step(f"{name}-long", worker="long")]
            runs.append(asyncio.create_task(one(name, gates, *(tasks if name == "a" else tasks[:1]))))
            await turns()
        assert order == ["first", "a-long"]  # a-w stands aside, a's place is a-long's
        release_first.set()
        async with asyncio.timeout(5):
            while "b-w" not in order:
                await asyncio.sleep(0.001)
        assert "a-w" not in order
        release_long.set()
        return await asyncio.gather(*runs)

    assert [r.status for r in run_bounded(scenario)] == ["succeeded"] * 3
    assert order[-1] == "a-w"


@pytest.mark.parametrize("how", ["succeeded", "failed", "gave_up"])
def test_a_call_that_was_made_before_the_breaker_opened_decides_nothing(jumping_loop, how):
    async def scenario():
        breaker = Breaker(BreakerPolicy(failures=1, rest_s=10.0))
        early, late = breaker.begin(), breaker.begin()
        breaker.failed(early)
        await asyncio.sleep(4)
        getattr(breaker, how)(late)
        assert breaker.rests_for() == 6.0
        late = early
        await asyncio.sleep(6)
        probe = breaker.begin()
        getattr(breaker, how)(late)
        assert breaker.rests_for() == 10.0  # the probe is still out
        breaker.succeeded(probe)
        assert breaker.rests_for() == 0.0

    with asyncio.Runner(loop_factory=jumping_loop) as runner:
        runner.run(scenario())
