"""Which ready task the engine starts first. Nothing here asserts a time; turns and orders are counted."""

import asyncio

from orchestai_jax.execution import execute
from orchestai_jax.execution._places import BURST
from orchestai_jax.workers import Output


def test_the_longest_way_goes_first_where_places_are_few(make, perform):
    order = []

    async def work(task_type, arguments, context):
        order.append(context.task_id)
        return Output(values={"value": 1})

    tasks = [*(make.step(f"short{i}") for i in range(3)), make.step("c1"), make.step("c2", "c1"), make.step("c3", "c2")]
    perform(make.plan(*tasks), make.worker(work), max_concurrency=1)
    assert order.index("c1") == 0
    slow, quick = make.worker(work, "slow", latency=100.0), make.worker(work, "quick", latency=1.0)
    order.clear()
    workflow = make.plan(
        make.step("q1", worker="quick"), make.step("q2", "q1", worker="quick"), make.step("s", worker="slow")
    )
    perform(workflow, slow, quick, max_concurrency=1)
    assert order == ["s", "q1", "q2"]


async def at_once(task_type, arguments, context):
    return Output(values={"value": 1})


def test_tasks_that_never_wait_share_a_turn_of_the_loop_but_not_the_whole_loop(make, tmp_path):
    count, turns = 1000, 0

    async def whole():
        nonlocal turns

        def tick():
            nonlocal turns
            turns += 1
            asyncio.get_running_loop().call_soon(tick)

        worker = make.worker(at_once)
        workflow = make.plan(*(make.step(f"t{i}", *([f"t{i - 1}"] if i else [])) for i in range(count)))
        tick()
        return await execute(workflow, make.catalog(worker), {"w": worker}, root=tmp_path, output_folder="out")

    assert asyncio.run(whole()).status == "succeeded"
    assert 1.5 * count / BURST < turns < count / 20


def test_what_becomes_ready_behind_a_task_that_waits_does_not_wait_for_it(make, perform):
    order = []

    async def work(task_type, arguments, context):
        if context.task_id == "slow":
            await asyncio.sleep(0.05)
        order.append(context.task_id)
        return Output(values={"value": 1})

    workflow = make.plan(make.step("first"), make.step("slow", "first"), make.step("b", "first"), make.step("c", "b"))
    assert perform(workflow, make.worker(work)).status == "succeeded"
    assert order == ["first", "b", "c", "slow"]
