"""The engine: dependencies, failure, limits, values. Nothing here asserts a time; concurrency is counted."""

import asyncio
import gc

import hypothesis
import hypothesis.strategies as st
import pytest

from orchestai_jax.config import Preference
from orchestai_jax.execution import execute
from orchestai_jax.execution._node import Node
from orchestai_jax.execution._run import Run
from orchestai_jax.execution._settling import Settling
from orchestai_jax.workers import Output, WorkerError
from orchestai_jax.workflow import Reference, WorkerLimits, predecessors


def statuses(record):
    return {run.task: run.status for run in record.tasks}


def test_values_flow_along_references(make, perform):
    async def join(task_type, arguments, context):
        return Output(values={"value": [context.task_id, arguments.get("a"), arguments.get("b")]}, cost=0.5, tokens=3)

    worker = make.worker(join)
    workflow = make.plan(
        make.step("one", a="x"),
        make.step("two", a="y"),
        make.step(
            "three", "one", "two", a=Reference(task="one", output="value"), b=Reference(task="two", output="value")
        ),
    )
    record = perform(workflow, worker, planner_info={"checkpoint": "here"}, preference=Preference.PRESETS["fast"])
    assert record.status == "succeeded"
    assert record.tasks[2].outputs == {"value": ["three", ["one", "x", None], ["two", "y", None]]}
    assert record.cost == pytest.approx(1.5)
    assert [run.tokens for run in record.tasks] == [3, 3, 3]
    assert record.planner == {"checkpoint": "here"}
    assert record.preference == (0.3, 0.1, 1.0)
    assert record.instruction == "do it"
    assert record.created.endswith("+00:00")


def test_independent_tasks_run_at_the_same_time(make, perform):
    async def meet(task_type, arguments, context):
        await barrier.wait()  # opens only when all three are inside
        return Output(values={"value": 1})

    barrier = asyncio.Barrier(3)
    assert perform(make.plan(*(make.step(f"t{i}") for i in range(3))), make.worker(meet)).status == "succeeded"


def test_no_barrier_between_levels(make, perform):
    """The second step of a fast branch starts while the first step of a slow branch still runs."""
    second_started = asyncio.Event()

    async def work(task_type, arguments, context):
        if context.task_id == "slow":
            await second_started.wait()
        if context.task_id == "fast2":
            second_started.set()
        return Output(values={"value": 1})

    workflow = make.plan(make.step("slow"), make.step("fast1"), make.step("fast2", "fast1"))
    assert perform(workflow, make.worker(work)).status == "succeeded"


class Counter:
    """Counts how many calls are inside at once, each staying for a few turns of the loop."""

    def __init__(self):
        self.inside = self.most = 0

    async def __call__(self, task_type, arguments, context):
        self.inside += 1
        self.most = max(self.most, self.inside)
        for _ in range(5):
            await asyncio.sleep(0)
        self.inside -= 1
        return Output(values={"value": 1})


@pytest.mark.parametrize("limit", [1, 3])
def test_the_run_never_exceeds_its_limit_and_uses_it(make, perform, limit):
    counter = Counter()
    perform(make.plan(*(make.step(f"t{i}") for i in range(12))), make.worker(counter), max_concurrency=limit)
    assert counter.most == limit


def test_each_worker_keeps_its_own_limit_and_leaves_the_rest_to_others(make, perform):
    narrow, wide = Counter(), Counter()
    workers = (make.worker(narrow, "narrow", WorkerLimits(max_concurrency=2)), make.worker(wide, "wide"))
    tasks = [make.step(f"n{i}", worker="narrow") for i in range(8)] + [
        make.step(f"w{i}", worker="wide") for i in range(8)
    ]
    perform(make.plan(*tasks), *workers, max_concurrency=6)
    assert narrow.most == 2
    assert wide.most >= 4


def test_those_who_queue_for_a_busy_worker_hold_no_place_of_the_run(make, perform):
    wide_done = asyncio.Event()

    async def wait(task_type, arguments, context):
        await wide_done.wait()
        return Output(values={"value": 1})

    async def finish(task_type, arguments, context):
        wide_done.set()
        return Output(values={"value": 1})

    workers = (make.worker(wait, "narrow", WorkerLimits(max_concurrency=1)), make.worker(finish, "wide"))
    tasks = [make.step(f"n{i}", worker="narrow") for i in range(4)] + [make.step("w", worker="wide")]
    assert perform(make.plan(*tasks), *workers, max_concurrency=2).status == "succeeded"


def test_the_catalogs_limit_binds_where_it_is_tighter(make, perform):
    counter = Counter()
    declared = make.worker(counter, limits=WorkerLimits(max_concurrency=1))
    actual = make.worker(counter, limits=WorkerLimits(max_concurrency=3))
    perform(make.plan(*(make.step(f"t{i}") for i in range(6))), actual, catalog=make.catalog(declared))
    assert counter.most == 1


def test_a_failure_skips_its_dependents_and_nothing_else(make, perform):
    async def work(task_type, arguments, context):
        if context.task_id == "bad":
            raise WorkerError("the disk\nis full")
        return Output(values={"value": context.task_id})

    workflow = make.plan(
        make.step("bad"),
        make.step("near", "bad", a=Reference(task="bad", output="value")),
        make.step("far", "near"),
        make.step("good"),
        make.step("mixed", "good", "bad"),
        make.step("fine", "good"),
    )
    worker = make.worker(work)
    record = perform(workflow, worker)
    assert statuses(record) == {
        "bad": "failed",
        "near": "skipped",
        "far": "skipped",
        "good": "succeeded",
        "mixed": "skipped",
        "fine": "succeeded",
    }
    assert record.status == "partial"
    assert record.tasks[0].error == "the disk is full"
    assert {record.tasks[i].error for i in (1, 2, 4)} == {"task bad failed: the disk is full"}
    assert sorted(name for name, _ in worker.calls) == ["bad", "fine", "good"]


def test_a_run_without_any_success_has_failed(make, perform):
    async def work(task_type, arguments, context):
        raise KeyError("nothing")

    record = perform(make.plan(make.step("t")), make.worker(work))
    assert record.status == "failed"
    assert record.tasks[0].error == "KeyError: 'nothing'"


def test_a_worker_past_its_time_limit_fails(make, perform):
    async def stall(task_type, arguments, context):
        await asyncio.Event().wait()

    worker = make.worker(stall, limits=WorkerLimits(timeout_s=0.01))
    record = perform(make.plan(make.step("t"), make.step("next", "t")), worker)
    assert statuses(record) == {"t": "failed", "next": "skipped"}
    assert record.tasks[0].error == "worker w took longer than its limit of 0.01 s"


def test_a_workers_own_timeout_is_not_taken_for_the_limit(make, perform):
    async def give_up(task_type, arguments, context):
        raise TimeoutError("the server is silent")

    record = perform(make.plan(make.step("t")), make.worker(give_up, limits=WorkerLimits(timeout_s=60)), jump=True)
    assert record.tasks[0].error == "TimeoutError: the server is silent"


def test_a_worker_that_cancels_itself_fails_and_nobody_waits_for_it(make, perform):
    async def odd(task_type, arguments, context):
        raise asyncio.CancelledError

    record = perform(make.plan(make.step("t"), make.step("next", "t")), make.worker(odd))
    assert statuses(record) == {"t": "failed", "next": "skipped"}
    assert record.tasks[0].error == "worker w cancelled its own work"


@pytest.mark.parametrize(
    "task_type, given, error",
    [
        ("step", None, "the worker returned NoneType in place of an Output"),
        ("step", Output(values={}), "the worker did not give the output value; it gave nothing"),
        ("step", Output(values={"value": {1, 2}}), "output value cannot be written as JSON"),
        ("step", Output(values={"value": 1}, cost=-1), "the worker says that it cost -1"),
        ("step", Output(values={"value": 1}, cost=float("nan")), "the worker says that it cost nan"),
        ("step", Output(values={"value": 1}, tokens=-5), "the worker says that it used -5 tokens"),
        ("read", Output(values={"count": "3"}), "output count must be a number, not str"),
        ("read", Output(values={"count": True}), "output count must be a number, not bool"),
        ("read", Output(values={"count": 3, "note": 4}), "output note must be text, not int"),
        (
            "shrink",
            Output(values={"image": "out/none.png"}),
            "output image names the file 'out/none.png', which was never",
        ),
        ("shrink", Output(values={"image": "../x.png"}), "output image names '../x.png', outside the root"),
        ("shrink", Output(values={"image": "a\0b"}), "output image names 'a\\x00b', outside the root"),
        ("shrink", Output(values={"image": 7}), "output image must be the path of a file, not int"),
    ],
)
def test_malformed_outputs_fail_their_task(make, perform, tmp_path, task_type, given, error):
    async def work(*_):
        return given

    (tmp_path / "a.png").write_bytes(b"x")
    arguments = {"shrink": {"image": "a.png"}, "read": {"text": "hello"}, "step": {}}[task_type]
    record = perform(make.plan(make.step("t", task_type=task_type, **arguments)), make.worker(work))
    assert record.tasks[0].status == "failed"
    assert record.tasks[0].error.startswith(error)


def test_an_optional_output_that_is_missing_fails_who_wants_it(make, perform):
    async def work(task_type, arguments, context):
        return Output(values={"count": 3} if task_type.id == "read" else {"value": 1})

    workflow = make.plan(
        make.step("r", task_type="read", text="hello"),
        make.step("ok", "r", a=Reference(task="r", output="count")),
        make.step("bad", "r", a=Reference(task="r", output="note")),
    )
    record = perform(workflow, make.worker(work))
    assert statuses(record) == {"r": "succeeded", "ok": "succeeded", "bad": "failed"}
    assert record.tasks[2].error == "argument a wants output 'note' of task r, which gave only count"


def test_a_long_chain_and_a_wide_fan_need_no_deep_stack(make, perform):
    chain = [make.step("c0")] + [make.step(f"c{i}", f"c{i - 1}") for i in range(1, 1500)]

    async def work(task_type, arguments, context):
        if context.task_id == "c1":
            raise WorkerError("stop")
        return Output(values={"value": 1})

    record = perform(make.plan(*reversed(chain)), make.worker(work))
    assert sorted({run.status for run in record.tasks}) == ["failed", "skipped", "succeeded"]
    assert sum(run.status == "skipped" for run in record.tasks) == 1498


@hypothesis.settings(
    max_examples=50, deadline=None, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture]
)
@hypothesis.given(data=st.data())
def test_any_dag_with_any_failures(make, tmp_path, data):
    count = data.draw(st.integers(1, 12))
    parents = [data.draw(st.lists(st.integers(0, i - 1), unique=True)) if i else [] for i in range(count)]
    failing = data.draw(st.sets(st.integers(0, count - 1)))
    turns = data.draw(st.lists(st.integers(0, 4), min_size=count, max_size=count))
    limit = data.draw(st.integers(1, 5))
    tasks = [make.step(f"t{i}", *(f"t{p}" for p in parents[i])) for i in range(count)]
    tasks = data.draw(st.permutations(tasks))

    async def work(task_type, arguments, context):
        number = int(context.task_id[1:])
        for _ in range(turns[number]):
            await asyncio.sleep(0)
        if number in failing:
            raise WorkerError("as told")
        return Output(values={"value": number})

    worker, events = make.worker(work), []
    workflow = make.plan(*tasks)
    record = asyncio.run(
        execute(
            workflow,
            make.catalog(worker),
            {"w": worker},
            root=tmp_path,
            output_folder="out",
            max_concurrency=limit,
            on_event=events.append,
        )
    )
    # Every task ends in exactly one state, told exactly once, and the record lists them in the workflow's order.
    assert [run.task for run in record.tasks] == [task.id for task in tasks]
    ends = [e for e in events if e.task_run is not None]
    assert sorted(e.task.id for e in ends) == sorted(task.id for task in tasks)
    assert {e.task.id: e.task_run for e in ends} == {run.task: run for run in record.tasks}
    # What depends on a failure, near or far, is skipped; all else runs.
    doomed = set()
    for i in range(count):
        if any(p in failing or p in doomed for p in parents[i]):
            doomed.add(i)
    wanted = {f"t{i}": "skipped" if i in doomed else "failed" if i in failing else "succeeded" for i in range(count)}
    assert statuses(record) == wanted
    assert sorted(name for name, _ in worker.calls) == sorted(t for t, s in wanted.items() if s != "skipped")
    # A task starts only after everything it depends on has ended.
    position = {(e.kind, e.task.id): n for n, e in enumerate(events) if e.task is not None}
    for task in tasks:
        if ("started", task.id) in position:
            assert all(position["finished", p] < position["started", task.id] for p in predecessors(task))
    succeeded = sum(s == "succeeded" for s in wanted.values())
    assert record.status == ("succeeded" if succeeded == count else "partial" if succeeded else "failed")
    assert (events[0].kind, events[-1].kind, events[-1].record) == ("planned", "ended", record)


def test_values_are_resolved_by_type_where_only_the_value_can_show_it(make, perform, tmp_path):
    """An output declared as `any` may go to an image, but only if it is the path of a file."""
    (tmp_path / "a.png").write_bytes(b"x")

    async def work(task_type, arguments, context):
        if task_type.id == "shrink":
            return Output(values={"image": arguments["image"]})
        return Output(values={"value": {"good": "a.png", "number": 3, "gone": "b.png"}[context.task_id]})

    def shrink(name, source):
        return make.step(name, source, task_type="shrink", image=Reference(task=source, output="value"))

    worker = make.worker(work)
    workflow = make.plan(
        *(make.step(name) for name in ("good", "number", "gone")),
        shrink("s1", "good"),
        shrink("s2", "number"),
        shrink("s3", "gone"),
    )
    record = perform(workflow, worker)
    assert [run.status for run in record.tasks[3:]] == ["succeeded", "failed", "failed"]
    assert record.tasks[4].error == (
        "task number's output 'value' for the argument image must be the path of a file, not int"
    )
    assert "never made" in record.tasks[5].error
    assert [name for name, _ in worker.calls if name.startswith("s")] == ["s1"]


@pytest.mark.parametrize("fails", ["never", "once", "always"])
def test_a_run_leaves_nothing_of_itself_to_the_collector(make, perform, fails):
    async def work(task_type, arguments, context):
        if fails == "always" or (fails == "once" and context.attempt == 1):
            raise WorkerError("busy", retryable=True)
        return Output(values={"value": 1})

    gc.collect()
    gc.disable()
    try:
        workflow = make.plan(make.step("a"), make.step("b", "a", a=Reference(task="a", output="value")))
        perform(workflow, make.worker(work), jump=True)
        assert [o for o in gc.get_objects() if isinstance(o, Node | Run | Settling)] == []
    finally:
        gc.enable()
