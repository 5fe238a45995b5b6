"""What a run has spent, and whether it may spend more."""

from __future__ import annotations

from orchestai_jax.execution._node import Node
from orchestai_jax.execution.policies import BudgetPolicy


class Spending:
    """Dollars spent, and those that running calls are expected to cost."""

    def __init__(self, budget: BudgetPolicy) -> None:
        self._limit = budget.cost
        self.limited = budget.cost is not None
        """Whether anything has to be asked at all."""
        self._spent = self._reserved = 0.0
        self._calls = 0
        self._postponed: list[Node] = []

    def spent(self, cost: float) -> None:
        """A call has cost so much."""
        self._spent += cost

    def may_begin(self, expected: float) -> bool:
        """Whether a call that is expected to cost so much stays within the budget; a spent one allows none."""
        assert self._limit is not None
        whole = self._spent + self._reserved
        return whole + expected <= self._limit * (1 + 1e-9) and (whole < self._limit or expected == 0 == whole)

    def reserve(self, expected: float) -> float:
        """Set a call's expected cost aside; returns it."""
        self._reserved += expected
        self._calls += 1
        return expected

    def release(self, node: Node) -> None:
        """A call is over: what it has cost is in `spent`."""
        self._calls -= 1
        self._reserved = self._reserved - node.expected_cost if self._calls else 0.0
        node.expected_cost = 0.0

    @property
    def anything_reserved(self) -> bool:
        """Whether calls run that may cost less than expected."""
        return self._calls > 0

    def postpone(self, node: Node) -> None:
        """Let a task wait for a call to be over."""
        self._postponed.append(node)

    def postponed(self) -> list[Node]:
        """The tasks that waited; they are asked anew."""
        nodes, self._postponed = self._postponed, []
        return nodes

    def reason(self, expected: float) -> str:
        """Why a call is not made."""
        return (
            f"the run's budget of ${self._limit:g} does not allow it: ${self._spent:g} is spent, "
            f"and it is expected to cost ${expected:g}"
        )
