"""Who may start now: the run's places, the workers' gates, the budget, the most urgent task first."""

from __future__ import annotations

import asyncio
import functools
import heapq
from collections.abc import Callable

from orchestai_jax.execution._node import Node
from orchestai_jax.execution._spending import Spending
from orchestai_jax.execution.failures import CallFailed
from orchestai_jax.execution.gates import Gate

BURST = 128
"""Tasks that are started in one turn of the loop: what runs already gets its turn in between."""


_Queue = list[tuple[float, int, Node]]
"""Tasks that could start, as a heap: the most urgent first, then in the workflow's order."""


def _push(queue: _Queue, node: Node) -> None:
    heapq.heappush(queue, (node.rank, node.index, node))


class Places:
    """The queue before the workers.

    A task starts when it has a place of the run's and one of its worker's. Tasks that wait for a busy worker stand
    aside, where they hold no place of the run's.

    Args:
        max_concurrency: the run's places.
        spending: the run's budget.
        launch: starts tasks, all that may start in this turn of the loop.
        refuse: ends a task that there is no money for.
        soon: calls a function in the next turn of the loop.
        broke: is told an error that `launch` or `refuse` raised.
    """

    def __init__(
        self,
        max_concurrency: int,
        spending: Spending,
        launch: Callable[[list[Node]], None],
        refuse: Callable[[Node, str], None],
        soon: Callable[[Callable[[], None]], None],
        broke: Callable[[Exception], None],
    ) -> None:
        self._free, self._spending = max_concurrency, spending
        self._launch, self._refuse, self._soon, self._broke = launch, refuse, soon, broke
        self._ready: _Queue = []
        self._blocked: dict[Gate, tuple[_Queue, Callable[[], None]]] = {}
        self._offered: set[Gate] = set()
        """The gates that have said that they have a place, since the last admission."""
        self._will_admit = False
        self.closed = False
        """Whether nothing is started any more."""

    def push(self, node: Node) -> None:
        """A task is ready; `admit` starts it."""
        heapq.heappush(self._ready, (node.rank, node.index, node))

    def close(self) -> None:
        """Start nothing any more, and let other runs have what this one was waiting for."""
        self.closed = True
        for gate, (_, word) in self._blocked.items():
            gate.forget(word)
        for gate in self._blocked:
            gate.wake()

    def admit(self) -> None:
        """Start what is ready, as far as there are places."""
        self._will_admit = False
        burst, batch, ready = BURST, [], self._ready
        try:
            while self._free > 0 and ready and not self.closed and burst:
                burst -= 1
                self._admit_one(heapq.heappop(ready)[2], batch)
            if not burst:
                self._admit_soon()
            elif self._offered:
                self._pass_on()
            if batch:
                self._launch(batch)
        except Exception as error:  # noqa: BLE001 - a listener's; it ends the run and is raised there
            self._broke(error)

    async def place(self, node: Node) -> None:
        """Wait, inside a task's coroutine, for a place of its worker's and one of the run's.

        Raises:
            CallFailed: the budget does not allow it.
        """
        node.permit = asyncio.get_running_loop().create_future()
        _push(self._ready, node)
        self._admit_soon()
        try:
            await node.permit
        except asyncio.CancelledError:
            self.release(node)  # the permit may have been given and not yet taken
            raise
        finally:
            node.permit = None

    def release(self, node: Node) -> None:
        """Give back what places a task holds."""
        if not node.holds:
            return
        node.holds = False
        self._free += 1
        if self._spending.limited:
            self._spending.release(node)
            for waiting in self._spending.postponed():
                _push(self._ready, waiting)
        node.door.gate.leave()
        if self._ready:
            self._admit_soon()

    def _admit_soon(self) -> None:
        if not self._will_admit and not self.closed:
            self._will_admit = True
            self._soon(self.admit)

    def _admit_one(self, node: Node, batch: list[Node]) -> None:
        gate = node.door.gate
        if node.status is not None or (node.launched and (node.permit is None or node.permit.done())):
            gate.wake()  # it ended while it waited: its turn is another's
            return
        if gate.rate is not None and not node.launched:
            node.launched = True  # it takes its places when the rate allows the call
            batch.append(node)
            return
        if gate.free <= 0:
            self._stand_aside(node, gate)
            return
        if self._spending.limited and not self._is_affordable(node):
            gate.wake()
            return
        gate.free -= 1
        self._free -= 1
        node.holds = True
        if node.permit is not None:
            node.permit.set_result(None)
        else:
            node.launched = True
            batch.append(node)

    def _is_affordable(self, node: Node) -> bool:
        expected = node.door.cost
        if self._spending.may_begin(expected):
            node.expected_cost = self._spending.reserve(expected)
            return True
        if self._spending.anything_reserved:
            self._spending.postpone(node)  # those that run may cost less than expected
        elif node.permit is not None:
            node.permit.set_exception(CallFailed("worker", self._spending.reason(expected)))
        else:
            self._refuse(node, self._spending.reason(expected))
        return False

    def _stand_aside(self, node: Node, gate: Gate) -> None:
        if gate not in self._blocked:
            self._blocked[gate] = ([], functools.partial(self._come_back, gate))
        queue, word = self._blocked[gate]
        if not queue:
            gate.notify(word)
        _push(queue, node)

    def _come_back(self, gate: Gate) -> None:
        """A place of the worker's is free: the most urgent of those that wait for it is ready again."""
        queue, word = self._blocked[gate]
        if queue:
            _push(self._ready, heapq.heappop(queue)[2])
            self._offered.add(gate)
            self._admit_soon()
        if queue:
            gate.notify(word)

    def _pass_on(self) -> None:
        """What this run had no place of its own for, or no money, is another's: a place that was taken wakes nobody."""
        offered, self._offered = self._offered, set()
        for gate in offered:
            gate.wake()
