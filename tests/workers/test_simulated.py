"""The simulated worker: its distributions, its shares, the same behaviour for the same seed."""

import asyncio
import random
import statistics
import types

import pytest

from orchestai_jax.workers import WorkerContext, WorkerError, local_workers, open_workers
from orchestai_jax.workers import simulated as module
from orchestai_jax.workers.simulated import SimulatedWorker, draw
from orchestai_jax.workflow import Catalog, Distribution, Port, SimulatedConnection, TaskType, WorkerSpec

KIND = TaskType(id="t", outputs=(Port(name="text", type="text"), Port(name="image", type="image")))


def worker(worker_id="w", **connection):
    spec = WorkerSpec(id=worker_id, task_types=("t",), connection=SimulatedConnection(**connection))
    return SimulatedWorker(spec)


class Stalled(Exception):
    """Raised where the worker would wait for ever."""


@pytest.fixture(autouse=True)
def stalls(monkeypatch):
    class Event:
        async def wait(self):
            raise Stalled

    monkeypatch.setattr(module, "asyncio", types.SimpleNamespace(sleep=asyncio.sleep, Event=Event))


def behaviours(root, one, n=60, attempt=1):
    """What became of n tasks: the cost of each, or `failed`, `malformed`, `stalled`."""

    async def task(i):
        context = WorkerContext(root, root / "out", f"t{i}", attempt=attempt)
        try:
            output = await one.run(KIND, {}, context)
        except WorkerError as error:
            return "failed" if error.retryable else "failed for good"
        except Stalled:
            return "stalled"
        return output.cost if output.values else "malformed"

    async def together():
        return await asyncio.gather(*(task(i) for i in range(n)))

    return asyncio.run(together())


def test_the_same_seed_behaves_the_same_whatever_the_order(tmp_path):
    how = {"failure": 0.3, "stall": 0.1, "malformed": 0.1, "cost": Distribution(shape="exponential", mean=1.0)}
    first, again = (behaviours(tmp_path, worker(seed=1, **how)) for _ in range(2))
    assert first == again
    assert first != behaviours(tmp_path, worker(seed=2, **how))
    assert first != behaviours(tmp_path, worker("v", seed=1, **how))
    assert first != behaviours(tmp_path, worker(seed=1, **how), attempt=2), "a second try may end otherwise"
    assert {"failed", "stalled", "malformed"} <= set(first)


@pytest.mark.parametrize("fate", ["failure", "stall", "malformed"])
def test_shares_are_kept(tmp_path, fate):
    name = {"failure": "failed", "stall": "stalled", "malformed": "malformed"}[fate]
    counts = behaviours(tmp_path, worker(**{fate: 0.25}), n=400).count(name)
    assert 70 <= counts <= 130, "400 draws at a quarter: within 3.5 standard deviations of 100"
    assert set(behaviours(tmp_path, worker(**{fate: 1.0}), n=20)) == {name}
    assert set(behaviours(tmp_path, worker(), n=20)) == {0.0}


@pytest.mark.parametrize(
    "distribution, deviation",
    [
        (Distribution(shape="constant", mean=2.0), 0.0),
        (Distribution(shape="uniform", mean=2.0, spread=1.0), 1 / 3**0.5),
        (Distribution(shape="exponential", mean=2.0), 2.0),
        (Distribution(shape="lognormal", mean=2.0, spread=0.5), 2.0 * (2.718281828**0.25 - 1) ** 0.5),
        (Distribution(shape="lognormal", mean=0.0, spread=0.5), 0.0),
    ],
)
def test_distributions_have_their_mean_and_deviation(distribution, deviation):
    dice = random.Random(0)
    values = [draw(distribution, dice) for _ in range(20_000)]
    assert min(values) >= 0
    assert statistics.fmean(values) == pytest.approx(distribution.mean, rel=0.05)
    assert statistics.pstdev(values) == pytest.approx(deviation, rel=0.08)


def test_latency_is_slept(tmp_path, monkeypatch):
    slept = []

    async def note(seconds):
        slept.append(seconds)

    monkeypatch.setattr(module.asyncio, "sleep", note)
    one = worker(latency=Distribution(shape="constant", mean=3.0))
    asyncio.run(one.run(KIND, {}, WorkerContext(tmp_path, tmp_path, "t")))
    assert slept == [3.0]


def test_outputs_are_of_their_types_and_say_what_they_are(tmp_path):
    output = asyncio.run(worker().run(KIND, {}, WorkerContext(tmp_path, tmp_path / "out", "t")))
    assert output.values["text"] == "made by a simulated worker"
    assert "simulated" in (tmp_path / output.values["image"]).read_text()
    with pytest.raises(WorkerError, match="cannot do other"):
        asyncio.run(worker().run(TaskType(id="other"), {}, WorkerContext(tmp_path, tmp_path, "t")))


def test_it_is_never_opened_unless_asked_for():
    catalog = Catalog(task_types=(KIND,), workers=(worker().spec,))
    assert open_workers(catalog) == {}
    assert local_workers(catalog) == {}
    assert list(open_workers(catalog, simulate=True)) == ["w"]
