"""A worker that only behaves: it waits, costs, fails and stalls by distribution, the same way by the same seed."""

from __future__ import annotations

import asyncio
import hashlib
import math
import random
from collections.abc import Mapping
from typing import Any

from orchestai_jax.workers.arguments import check_arguments
from orchestai_jax.workers.health import Health
from orchestai_jax.workers.worker import Output, WorkerContext, WorkerError
from orchestai_jax.workflow.catalog import Port, TaskType, WorkerSpec
from orchestai_jax.workflow.connections import Distribution, SimulatedConnection


class SimulatedWorker:
    """For tests of what runs workers, and for simulations. Its outputs mean nothing and say so.

    Files are not made: a task type with files as outputs gives small text files that say that they are simulated.

    Args:
        spec: its entry in the catalog; `connection` says how it behaves.

    Raises:
        ValueError: the connection is of another kind.
    """

    def __init__(self, spec: WorkerSpec) -> None:
        if not isinstance(spec.connection, SimulatedConnection):
            raise ValueError(f"worker {spec.id!r} has no connection of the kind simulated")
        self._spec, self._how = spec, spec.connection

    @property
    def spec(self) -> WorkerSpec:
        """Its entry in the catalog."""
        return self._spec

    async def run(self, task_type: TaskType, arguments: Mapping[str, Any], context: WorkerContext) -> Output:
        """Behave once. What it does depends on seed, worker, task and attempt, never on the order of calls.

        Raises:
            WorkerError: wrong arguments; and as often as it is told to fail.
        """
        if task_type.id not in self._spec.task_types:
            raise WorkerError(f"worker {self._spec.id} cannot do {task_type.id}")
        check_arguments(task_type, arguments)
        dice = random.Random(_seed(self._how.seed, self._spec.id, context.task_id, context.attempt))
        fate, latency, cost = dice.random(), draw(self._how.latency, dice), draw(self._how.cost, dice)
        if fate < self._how.stall:
            await asyncio.Event().wait()
        await asyncio.sleep(latency)
        fate -= self._how.stall
        if fate < self._how.failure:
            raise WorkerError(f"{self._spec.id} failed, as it was told to (attempt {context.attempt})", retryable=True)
        malformed = fate - self._how.failure < self._how.malformed
        values = {} if malformed else {port.name: _value(port, context) for port in task_type.outputs}
        return Output(values, cost=cost)

    async def check(self) -> Health:
        """It always works, in its way."""
        return Health(True, "simulated")


def draw(distribution: Distribution, dice: random.Random) -> float:
    """One value. A lognormal's mu is log(mean) - sigma² / 2, so that its mean is the mean."""
    mean, spread = distribution.mean, distribution.spread
    if mean == 0:
        return 0.0
    match distribution.shape:
        case "constant":
            return mean
        case "uniform":
            return dice.uniform(mean - spread, mean + spread)
        case "exponential":
            return dice.expovariate(1 / mean)
        case "lognormal":
            return dice.lognormvariate(math.log(mean) - spread * spread / 2, spread)


def _value(port: Port, context: WorkerContext) -> Any:
    if port.type in ("file", "image", "audio", "table", "video", "document"):
        folder = (context.root / context.output_folder).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        name = hashlib.sha256(f"{context.task_id}/{port.name}".encode()).hexdigest()[:16]
        path = folder / f"simulated-{name}.txt"
        path.write_text("made by a simulated worker\n", encoding="utf-8")
        return path.relative_to(context.root.resolve()).as_posix()
    return {"number": 0.0, "json": {}}.get(port.type, "made by a simulated worker")


def _seed(*parts: object) -> int:
    return int.from_bytes(hashlib.sha256("\0".join(map(str, parts)).encode()).digest()[:8], "big")
