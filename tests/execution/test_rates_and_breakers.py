"""Rates and breakers: what holds a worker's calls back. Times are those of a loop in which waiting takes none."""

import asyncio

import pytest
from scripted_worker import NO_JITTER, Scripted, busy

from orchestai_jax.execution.gates import Rate
from orchestai_jax.execution.policies import RatePolicy
from orchestai_jax.workers import Output, WorkerError


def test_requests_a_minute(make, perform):
    work = Scripted()
    perform(
        make.plan(*(make.step(f"t{i}") for i in range(6))),
        make.worker(work),
        policies={"workers": {"w": {"rate": {"requests_per_minute": 2}}}},
        jump=True,
    )
    assert work.delays == [0.0, 30.0, 30.0, 30.0, 30.0]  # a burst of a minute's worth, then the rate


def test_tokens_a_minute(make, perform):
    work = Scripted(*(Output(values={"value": 1}, tokens=tokens) for tokens in (100, 400, 100, 0)))
    perform(
        make.plan(*(make.step(f"t{i}", *([f"t{i - 1}"] if i else [])) for i in range(4))),
        make.worker(work),
        policies={"workers": {"w": {"rate": {"tokens_per_minute": 200, "tokens_per_call": 100}}}},
        jump=True,
    )
    # 100 and 100 go at once; the second uses 300 more than expected, so that the third waits for 400 tokens' time.
    assert work.delays == [0.0, 120.0, 30.0]


def test_tokens_of_failed_calls_count_against_the_rate(make, perform):
    for failure in (WorkerError("refused", tokens=400), Output(values={}, tokens=400)):
        work = Scripted(failure)
        perform(
            make.plan(make.step("t0"), make.step("t1")),
            make.worker(work),
            policies={"workers": {"w": {"rate": {"tokens_per_minute": 200, "tokens_per_call": 100}}}},
            jump=True,
            max_concurrency=1,
        )
        assert work.delays == [90.0]  # 300 beyond what was expected, and 100 of its own, of which 100 were there


def test_whoever_gives_up_waiting_for_a_rate_leaves_the_debt(jumping_loop):
    async def scenario():
        loop = asyncio.get_running_loop()
        rate = Rate(RatePolicy(tokens_per_minute=60, tokens_per_call=10))
        await rate.take()
        rate.settle(190)  # owes 180
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(65):
                await rate.take()
        await rate.take()
        return loop.time()

    with asyncio.Runner(loop_factory=jumping_loop) as runner:
        # 200 tokens are taken, of which 60 were there at the beginning: at one a second
        assert runner.run(scenario()) == pytest.approx(140.0, abs=1.0)


def test_waiting_for_a_rate_is_no_part_of_a_tasks_time(make, perform, monkeypatch):
    seen = []

    async def take(self):
        while len(seen) < 20:  # the wait takes some turns, and time passes in it
            seen.append(None)
            await asyncio.sleep(0.001)

    async def work(task_type, arguments, context):
        seen.append("called")
        return Output(values={"value": 1})

    monkeypatch.setattr(Rate, "take", take)
    policies = {"workers": {"w": {"rate": {"requests_per_minute": 1}}}}
    record = perform(make.plan(make.step("t")), make.worker(work), policies=policies)
    assert record.tasks[0].started_s >= 0.02
    assert record.tasks[0].started_s + record.tasks[0].duration_s <= record.duration_s


def test_waiting_for_a_rate_holds_no_place_and_nothing_is_saved_up(make, perform):
    slow, other = Scripted(), Scripted()

    async def long(task_type, arguments, context):
        await asyncio.sleep(600)
        return Output(values={"value": 1})

    tasks = [make.step(f"s{i}", worker="slow") for i in range(4)] + [make.step("o", worker="other")]
    tasks += [make.step(f"l{i}", worker="long") for i in range(2)]
    perform(
        make.plan(*tasks),
        make.worker(long, "long"),
        make.worker(slow, "slow"),
        make.worker(other, "other"),
        policies={"workers": {"slow": {"rate": {"requests_per_minute": 1}}}},
        jump=True,
        max_concurrency=2,
    )
    assert other.times[0] == 0.0
    # Then both places are taken for ten minutes: one call's leave is saved up meanwhile, not ten.
    assert slow.times == [0.0, 600.0, 600.0, 660.0]


def test_the_breaker_opens_rests_probes_and_closes(make, perform):
    broken = Scripted(*(ConnectionError("down") for _ in range(4)))
    helper = make.worker(name="helper")
    tasks = [make.step(f"t{i}", *([f"t{i - 1}"] if i else []), worker="w", label=str(i)) for i in range(6)]

    async def helping(task_type, arguments, context):
        await asyncio.sleep(4)
        return Output(values={"value": 1})

    helper = make.worker(helping, "helper")
    record = perform(
        make.plan(*tasks),
        make.worker(broken),
        helper,
        policies={
            "default": {"retry": {"attempts": 1}},
            "workers": {"w": {"breaker": {"failures": 3, "rest_s": 10.0}}},
        },
        jump=True,
    )
    # t0, t1, t2 fail and open it; t3 and t4 (at 12 and 16 s; it opened at 8) do not ask; t5 (at 20 s) is the probe.
    assert [len(run.attempts) for run in record.tasks] == [2, 2, 2, 0, 0, 2]
    assert [run.worker for run in record.tasks] == ["helper"] * 6
    assert record.tasks[3].error is None


def test_a_success_closes_the_breaker_and_failures_that_are_not_the_workers_do_not_count(make, perform):
    script = [busy(), busy(), Output(values={"value": 1}), busy(), busy()]
    script += [WorkerError("cannot"), busy(), busy(), Output(values={"value": 1})]
    work = Scripted(*script)
    policies = {
        "default": {"retry": {"attempts": 1}},
        "workers": {"w": {"breaker": {"failures": 3, "rest_s": 1000.0}}},
    }
    record = perform(
        make.plan(*(make.step(f"t{i}") for i in range(9))), make.worker(work), policies=policies, max_concurrency=1
    )
    assert len(work.times) == 9
    assert sum(run.status == "succeeded" for run in record.tasks) == 2


def test_who_has_no_other_worker_waits_until_the_rest_is_over(make, perform):
    work = Scripted(busy(), busy())
    policies = {
        "default": {"retry": {**NO_JITTER, "attempts": 5}},
        "workers": {"w": {"breaker": {"failures": 2, "rest_s": 50.0}}},
    }
    record = perform(make.plan(make.step("t")), make.worker(work), policies=policies, jump=True)
    assert record.status == "succeeded"
    assert work.delays[0] == 1.0
    assert 50.0 <= work.delays[1] <= 52.5


def test_who_has_another_worker_does_not_wait_for_the_rest(make, perform):
    broken, helper = Scripted(busy()), Scripted()
    record = perform(
        make.plan(make.step("a"), make.step("b", "a")),
        make.worker(broken),
        make.worker(helper, "helper"),
        policies={
            "default": {"retry": {**NO_JITTER, "attempts": 5, "errors": ["resting"]}},
            "workers": {"w": {"breaker": {"failures": 1, "rest_s": 50.0}}},
        },
        jump=True,
    )
    assert [run.worker for run in record.tasks] == ["helper", "helper"]
    assert helper.times == [0.0, 0.0]
