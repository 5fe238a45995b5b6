"""What policies do: every field changes behaviour. Times are those of a loop in which waiting takes none."""

import asyncio
import inspect
import pathlib
import random
import re

import pytest
import yaml

from orchestai_jax.config import ConfigError, Preference
from orchestai_jax.execution import RunPolicies, load_policies, parse_policies
from orchestai_jax.execution.gates import Rate
from orchestai_jax.execution.policies import RatePolicy
from orchestai_jax.workers import Output, WorkerError
from orchestai_jax.workflow import WorkerLimits

NO_JITTER = {"first_delay_s": 1.0, "jitter_s": 0.0}


def retry(**fields):
    return {"default": {"retry": {**NO_JITTER, **fields}}}


class Scripted:
    """A worker that does what its script says, call by call: an error is raised, all else returned."""

    def __init__(self, *script):
        self.script, self.times, self.contexts = list(script), [], []

    async def __call__(self, task_type, arguments, context):
        self.times.append(asyncio.get_running_loop().time())
        self.contexts.append(context)
        step = self.script.pop(0) if self.script else Output(values={"value": 1})
        if inspect.isawaitable(step):
            step = await step
        if isinstance(step, BaseException):
            raise step
        return step

    @property
    def delays(self):
        return [round(b - a, 3) for a, b in zip(self.times, self.times[1:], strict=False)]


def busy(after=None):
    return WorkerError("busy", retryable=True, retry_after_s=after)


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


def workers(make, **behaviours):
    figures = {
        "planned": {"quality": 0.1},
        "good": {"quality": 0.9, "latency": 10.0, "cost": 1.0},
        "quick": {"quality": 0.5, "latency": 1.0, "cost": 0.1},
    }
    return [make.worker(behaviours.get(name, Scripted()), name, **figures[name]) for name in figures]


def test_the_next_best_worker_takes_over_and_the_record_says_so(make, perform):
    events = []
    planned = Scripted(*(busy() for _ in range(3)))
    record = perform(
        make.plan(make.step("t", worker="planned"), make.step("u", "t", worker="planned")),
        *workers(make, planned=planned),
        policies=retry(),
        jump=True,
        on_event=events.append,
        preference=Preference.PRESETS["quality"],
    )
    run = record.tasks[0]
    assert (run.status, run.worker) == ("succeeded", "good")
    assert [(a.worker, a.error) for a in run.attempts] == [("planned", "busy")] * 3 + [("good", None)]
    assert record.tasks[1].worker == "planned"  # each task begins with its own
    (rerouted,) = [e for e in events if e.kind == "rerouted"]
    assert (rerouted.worker, rerouted.attempt) == ("good", run.attempts[2])


@pytest.mark.parametrize(
    ("preference", "alternatives", "wanted"),
    [("quality", (), "good"), ("fast", (), "quick"), ("quality", ("quick",), "quick")],
)
def test_the_plans_ranking_comes_first_then_the_preference(make, perform, preference, alternatives, wanted):
    task = make.step("t", worker="planned").model_copy(update={"alternatives": alternatives})
    record = perform(
        make.plan(task),
        *workers(make, planned=Scripted(WorkerError("no"))),
        preference=Preference.PRESETS[preference],
    )
    assert record.tasks[0].worker == wanted


def test_no_more_than_the_policys_number_take_over(make, perform):
    for most, asked in ((0, 0), (1, 1), (2, 2)):
        failing = {name: Scripted(WorkerError(f"{name} cannot")) for name in ("planned", "good", "quick")}
        record = perform(
            make.plan(make.step("t", worker="planned")),
            *workers(make, **failing),
            policies={"fallback_workers": most},
        )
        run = record.tasks[0]
        assert run.status == "failed"
        assert run.worker == "planned"
        assert run.error.startswith("planned cannot")
        assert len(run.attempts) == 1 + asked
        if most == 2:
            assert run.error == "planned cannot (then quick: quick cannot; then good: good cannot)"


def test_only_workers_that_are_here_and_able_take_over(make, perform):
    able, absent, other = (
        make.worker(Scripted(WorkerError("no")), "able"),
        make.worker(name="absent"),
        make.worker(name="other", task_types=("read",)),
    )
    record = perform(make.plan(make.step("t", worker="able")), able, other, catalog=make.catalog(able, absent, other))
    assert (record.status, record.tasks[0].error) == ("failed", "no")


def test_bad_arguments_are_nobodys_fault(make, perform):
    from orchestai_jax.workflow import Reference

    reader = make.worker(Scripted(Output(values={"count": 1})), "reader")
    second = make.worker(name="second")
    workflow = make.plan(
        make.step("r", task_type="read", text="x", worker="reader"),
        make.step("s", "r", a=Reference(task="r", output="note"), worker="second"),
    )
    record = perform(workflow, reader, second)
    assert record.tasks[1].status == "failed"
    assert len(reader.calls) == 1
    assert second.calls == []


# Rates, breakers, budgets


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
