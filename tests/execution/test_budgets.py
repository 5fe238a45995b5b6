"""Budgets: money and time of a run."""

import asyncio

import pytest
from scripted_worker import NO_JITTER, Scripted

from orchestai_jax.workers import Output


def test_the_budgets_cost_stops_what_would_exceed_it(make, perform):
    async def paid(task_type, arguments, context):
        return Output(values={"value": 1}, cost=0.4)

    worker = make.worker(paid, cost=0.4)
    workflow = make.plan(*(make.step(f"t{i}") for i in range(4)), make.step("after", "t3"))
    record = perform(workflow, worker, policies={"budget": {"cost": 1.0}}, max_concurrency=5)
    assert [run.status for run in record.tasks] == ["succeeded", "succeeded", "skipped", "skipped", "skipped"]
    assert "budget of $1 does not allow it: $0.8 is spent" in record.tasks[2].error
    assert record.tasks[4].error.startswith("task t3 was skipped: the run's budget of $1")
    assert record.status == "partial"
    assert record.cost == pytest.approx(0.8)


def test_those_who_cost_less_than_expected_leave_money_to_others(make, perform):
    async def cheap(task_type, arguments, context):
        await asyncio.sleep(0)
        return Output(values={"value": 1}, cost=0.1)

    workflow = make.plan(*(make.step(f"t{i}") for i in range(6)))
    record = perform(workflow, make.worker(cheap, cost=0.5), policies={"budget": {"cost": 1.0}}, max_concurrency=6)
    assert record.status == "succeeded"
    assert record.cost == pytest.approx(0.6)


def test_a_budget_that_is_spent_allows_nothing_more(make, perform):
    async def paid(task_type, arguments, context):
        return Output(values={"value": 1}, cost=5.0)

    workflow = make.plan(make.step("a"), make.step("b", "a"))
    record = perform(workflow, make.worker(paid), policies={"budget": {"cost": 1.0}})
    assert [run.status for run in record.tasks] == ["succeeded", "skipped"]


def test_there_is_no_money_for_another_attempt(make, perform):
    work = Scripted(Output(values={}, cost=0.9, tokens=7))
    policies = {
        "default": {"retry": {**NO_JITTER, "errors": ["malformed"]}},
        "budget": {"cost": 1.0},
    }
    record = perform(make.plan(make.step("t")), make.worker(work, cost=0.5), policies=policies, jump=True)
    (run,) = record.tasks
    assert run.status == "failed"
    assert "does not allow it" in run.error
    assert (run.cost, run.tokens) == (0.9, 7)


def test_the_deadline_stops_what_runs_and_keeps_what_is_there(make, perform):
    async def work(task_type, arguments, context):
        if context.task_id == "slow":
            await asyncio.sleep(1000)
        return Output(values={"value": 1})

    workflow = make.plan(make.step("quick"), make.step("slow"), make.step("after", "slow"), make.step("next", "quick"))
    record = perform(workflow, make.worker(work), policies={"budget": {"deadline_s": 5.0}}, jump=True)
    assert [run.status for run in record.tasks] == ["succeeded", "failed", "skipped", "succeeded"]
    assert record.tasks[1].error == "the run's deadline of 5 s has passed while this task ran"
    assert record.tasks[2].error == "the run's deadline of 5 s has passed"
    assert record.status == "partial"


def test_the_deadline_passes_over_the_deaf(make, perform):
    async def deaf(task_type, arguments, context):
        try:
            await asyncio.sleep(1e12)
        except asyncio.CancelledError:
            await asyncio.sleep(1e12)

    policies = {"budget": {"deadline_s": 5.0}, "grace_s": 1.0}
    record = perform(make.plan(make.step("t"), make.step("u", "t")), make.worker(deaf), policies=policies, jump=True)
    assert [run.status for run in record.tasks] == ["failed", "skipped"]
