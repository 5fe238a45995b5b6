"""What policies do: every field changes behaviour. Times are those of a loop in which waiting takes none."""

import asyncio
import pathlib
import random
import re

import pytest
import yaml
from scripted_worker import NO_JITTER, Scripted, busy, retry

from orchestai_jax.config import ConfigError
from orchestai_jax.execution import RunPolicies, load_policies, parse_policies
from orchestai_jax.workers import Output, WorkerError
from orchestai_jax.workflow import WorkerLimits


def test_a_transient_failure_is_tried_again_with_growing_delays(make, perform):
    events, work = [], Scripted(busy(), busy(), busy())
    policies = retry(attempts=4, factor=3.0, max_delay_s=5.0)
    record = perform(make.plan(make.step("t")), make.worker(work), policies=policies, jump=True, on_event=events.append)
    assert work.delays == [1.0, 3.0, 5.0]  # 9 is cut to 5
    (run,) = record.tasks
    assert run.status == "succeeded"
    assert [a.error for a in run.attempts] == ["busy", "busy", "busy", None]
    assert run.attempts == run.calls
    assert [c.attempt for c in work.contexts] == [1, 2, 3, 4]
    assert {c.idempotency_key for c in work.contexts} == {f"{record.run_id}/t"}
    retried = [e for e in events if e.kind == "retried"]
    assert [e.delay_s for e in retried] == [1.0, 3.0, 5.0]
    assert retried[0].attempt == run.attempts[0]
    assert retried[0].worker == "w"


def test_attempts_are_counted_and_the_last_error_stands(make, perform):
    work = Scripted(busy(), busy(), WorkerError("never", retryable=True))
    record = perform(make.plan(make.step("t")), make.worker(work), policies=retry(attempts=3), jump=True)
    assert (record.tasks[0].status, record.tasks[0].error) == ("failed", "never")
    assert len(work.times) == 3
    once = Scripted(busy())
    assert perform(make.plan(make.step("t")), make.worker(once), policies=retry(attempts=1)).status == "failed"
    assert len(once.times) == 1


def test_jitter_is_added(make, perform):
    work = Scripted(busy(), busy())
    policies = {"default": {"retry": {"first_delay_s": 1.0, "factor": 1.0, "jitter_s": 0.5}}}
    random.seed(5)  # tenacity draws from it
    perform(make.plan(make.step("t")), make.worker(work), policies=policies, jump=True)
    assert all(1.0 <= delay <= 1.501 for delay in work.delays)
    assert work.delays[0] != work.delays[1]


def test_a_service_that_asks_for_more_time_gets_it(make, perform):
    work = Scripted(busy(after=100.0), busy(after=0.1))
    perform(make.plan(make.step("t")), make.worker(work), policies=retry(max_delay_s=5.0, factor=1.0), jump=True)
    assert work.delays == [100.0, 1.0]


def test_nobody_waits_longer_than_is_allowed_for_a_service_that_asks_for_more_time(make, perform):
    for longest, calls, status in ((50.0, 1, "failed"), (100.0, 2, "succeeded")):
        work = Scripted(busy(after=100.0))
        policies = retry(max_asked_delay_s=longest)
        record = perform(make.plan(make.step("t")), make.worker(work), policies=policies, jump=True)
        assert (len(work.times), record.status) == (calls, status)
    asked, helper = Scripted(busy(after=1e6)), make.worker(name="helper")
    record = perform(make.plan(make.step("t")), make.worker(asked), helper, policies=retry(), jump=True)
    assert (record.tasks[0].worker, len(asked.times)) == ("helper", 1)
    assert record.duration_s < 60


@pytest.mark.parametrize(
    ("kind", "step"),
    [
        ("transient", busy()),
        ("transient", ConnectionError("reset")),
        ("worker", WorkerError("cannot")),
        ("malformed", Output(values={})),
        ("crash", KeyError("x")),
    ],
)
def test_only_the_named_kinds_are_tried_again(make, perform, kind, step):
    for errors, calls in (((kind,), 2), ((), 1)):
        work = Scripted(step)
        record = perform(
            make.plan(make.step("t")), make.worker(work), policies=retry(errors=errors), jump=True, max_concurrency=1
        )
        assert len(work.times) == calls
        assert record.status == ("succeeded" if calls == 2 else "failed")


def test_a_timeout_is_a_kind_and_the_policys_limit_holds_beside_the_workers(make, perform):
    for limits, timeout_s, shown in ((WorkerLimits(), 3.0, "3 s"), (WorkerLimits(timeout_s=2), 3.0, "2 s")):
        work = Scripted(asyncio.sleep(1000), asyncio.sleep(1000))
        policies = {"default": {"timeout_s": timeout_s, "retry": {**NO_JITTER, "attempts": 2, "errors": ["timeout"]}}}
        record = perform(make.plan(make.step("t")), make.worker(work, limits=limits), policies=policies, jump=True)
        assert record.tasks[0].error == f"worker w took longer than its limit of {shown}"
        assert work.delays == [float(shown[0]) + 1.0]


def test_a_call_that_does_not_stop_is_left_behind(make, perform, caplog):
    async def deaf(task_type, arguments, context):
        try:
            await asyncio.sleep(1e12)
        except asyncio.CancelledError:
            if context.task_id == "hears":
                raise
            await asyncio.sleep(1e12)  # until the loop itself is closed

    policies = {"default": {"timeout_s": 1.0}, "grace_s": 2.0}
    record = perform(make.plan(make.step("deaf"), make.step("hears")), make.worker(deaf), policies=policies, jump=True)
    assert [run.status for run in record.tasks] == ["failed", "failed"]
    assert "worker w does not stop when it is told to" in caplog.text
    assert caplog.text.count("does not stop") == 1


def test_delays_hold_no_place(make, perform):
    order = []

    async def work(task_type, arguments, context):
        order.append((context.task_id, context.attempt))
        if context.task_id == "a" and context.attempt == 1:
            raise busy()
        return Output(values={"value": 1})

    record = perform(
        make.plan(make.step("a"), make.step("b"), make.step("c")),
        make.worker(work, limits=WorkerLimits(max_concurrency=1)),
        policies=retry(),
        jump=True,
        max_concurrency=1,
    )
    assert record.status == "succeeded"
    assert order == [("a", 1), ("b", 1), ("c", 1), ("a", 2)]


# Other workers


# Rates, breakers, budgets


# How they are written


def test_what_is_given_for_a_worker_or_a_task_replaces_field_by_field():
    policies = parse_policies(
        {
            "default": {"timeout_s": 10, "retry": {"attempts": 7}},
            "workers": {"w": {"timeout_s": 5}},
            "tasks": {"t": {"retry": {"attempts": 1}}},
        }
    )
    assert policies.of("x", "y").timeout_s == 10
    assert policies.of("x", "w").timeout_s == 5
    assert policies.of("x", "w").retry.attempts == 7
    assert (policies.of("t", "w").timeout_s, policies.of("t", "w").retry.attempts) == (5, 1)


def test_a_tasks_policy_holds_for_that_task_alone(make, perform):
    async def stall(task_type, arguments, context):
        await asyncio.sleep(3)
        return Output(values={"value": 1})

    policies = {"tasks": {"t": {"timeout_s": 1.0}}}
    record = perform(make.plan(make.step("t"), make.step("u")), make.worker(stall), policies=policies, jump=True)
    assert [run.status for run in record.tasks] == ["failed", "succeeded"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("retries: 3", "retries: Extra inputs"),
        ("default: {retry: {attempts: 0}}", "default.retry.attempts: Input should be greater than or equal to 1"),
        ("default: {timeout_s: .inf}", "default.timeout_s"),
        ("budget: {cost: -1}", "budget.cost"),
        ("tasks: {t: {rate: {requests_per_minute: 3}}}", "tasks.t.rate is given; it belongs to a worker"),
        ("[1]", "policies are a mapping"),
        ("{", "is not YAML"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path, text, says):
    path = tmp_path / "p.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_policies(path)
    assert says in str(caught.value)
    assert "p.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_overrides_go_into_sections(tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text("budget: {cost: 1}\n")
    policies = load_policies(path, {"budget": {"deadline_s": 3}, "fallback_workers": 0})
    assert (policies.budget.cost, policies.budget.deadline_s, policies.fallback_workers) == (1, 3, 0)
    with pytest.raises(ConfigError, match=r"none\.yaml"):
        load_policies(tmp_path / "none.yaml")
    assert load_policies(path) == RunPolicies.model_validate({"budget": {"cost": 1}})


def test_the_documented_example_is_right():
    text = (pathlib.Path(__file__).parents[2] / "docs" / "execution.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    policies = parse_policies(yaml.safe_load(block))
    assert policies.default.retry == RunPolicies().default.retry
    assert policies.fallback_workers == RunPolicies().fallback_workers
    assert policies.grace_s == RunPolicies().grace_s
    assert policies.of_worker("gpt").breaker is not None


def test_a_call_that_was_left_behind_is_not_heard(make, perform):
    events = []

    async def work(task_type, arguments, context):
        if context.task_id == "other":
            await asyncio.sleep(100)
            return Output(values={"value": 1})
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            await asyncio.sleep(10)
            context.on_chunk("too late")
        return Output(values={"value": "too late"})

    policies = {"tasks": {"t": {"timeout_s": 1.0}}, "grace_s": 1.0}
    record = perform(
        make.plan(make.step("t"), make.step("other")),
        make.worker(work),
        policies=policies,
        jump=True,
        on_event=events.append,
    )
    assert [run.status for run in record.tasks] == ["failed", "succeeded"]
    assert record.tasks[0].outputs == {}
    assert [e.kind for e in events if e.task is not None and e.task.id == "t"] == ["started", "failed"]
