"""The doors to the workers: how many calls at once, how many a minute, and whether a worker is left alone."""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Callable, Mapping

from aiolimiter import AsyncLimiter

from orchestai_jax.execution.policies import BreakerPolicy, RatePolicy, RunPolicies
from orchestai_jax.workers import Worker
from orchestai_jax.workflow import Catalog, WorkerLimits

NO_LIMIT = 1 << 60


class Gates:
    """The gates of all workers. Runs that are given the same ones share the workers' limits, on one event loop."""

    def __init__(self) -> None:
        self._gates: dict[str, Gate] = {}

    def gate(self, worker_id: str, limits: WorkerLimits, policies: RunPolicies) -> Gate:
        """The gate of a worker, made where there is none.

        Raises:
            ValueError: another run shares it under other limits.
        """
        policy = policies.of_worker(worker_id)
        terms = (limits, policy.rate, policy.breaker)
        gate = self._gates.get(worker_id)
        if gate is None:
            gate = self._gates[worker_id] = Gate(worker_id, limits.max_concurrency, policy.rate, policy.breaker)
            gate.terms = terms
        elif gate.terms != terms:
            raise ValueError(f"gates: worker {worker_id!r} is shared under {gate.terms}, this run asks for {terms}")
        return gate


class Gate:
    """The door to one worker. A run that finds it full leaves word (`notify`) and is told when a place is free."""

    __slots__ = ("_waiting", "breaker", "free", "in_line", "rate", "terms", "worker_id")

    def __init__(
        self,
        worker_id: str,
        max_concurrency: int | None,
        rate: RatePolicy | None = None,
        breaker: BreakerPolicy | None = None,
    ) -> None:
        self.worker_id = worker_id
        self.free = NO_LIMIT if max_concurrency is None else max_concurrency
        """Calls that may start now."""
        self.rate = None if rate is None else Rate(rate)
        self.breaker = None if breaker is None else Breaker(breaker)
        self.in_line = asyncio.Lock()
        """Who waits for the rate limit holds it until the call begins: calls keep their order, and nobody saves up."""
        self.terms: object = None
        self._waiting: collections.deque[Callable[[], None]] = collections.deque()

    def notify(self, when_free: Callable[[], None]) -> None:
        """Call `when_free` once, when a place is free; runs that wait are told one after the other."""
        self._waiting.append(when_free)

    def forget(self, when_free: Callable[[], None]) -> None:
        """Take the word back."""
        if when_free in self._waiting:
            self._waiting.remove(when_free)

    def leave(self) -> None:
        """Give a place back."""
        self.free += 1
        if self._waiting:
            self.wake()

    def wake(self) -> None:
        """Tell the next who waits, where a place is free: whoever was told before has not taken it."""
        if self.free > 0 and self._waiting:
            self._waiting.popleft()()


class Rate:
    """Calls and tokens a minute, as leaky buckets: a minute's worth may come at once, then at the steady rate."""

    def __init__(self, policy: RatePolicy) -> None:
        self._policy = policy
        self._requests = None if policy.requests_per_minute is None else AsyncLimiter(policy.requests_per_minute)
        self._tokens = None if policy.tokens_per_minute is None else AsyncLimiter(policy.tokens_per_minute)
        self._owed = 0.0

    async def take(self) -> None:
        """Wait until one more call may be made."""
        if self._requests is not None:
            await self._requests.acquire()
        if self._tokens is not None:
            await self._pay(self._tokens)
            wanted = float(self._policy.tokens_per_call)
            while wanted > 0:
                part = min(wanted, self._tokens.max_rate)
                await self._tokens.acquire(part)
                wanted -= part

    async def _pay(self, tokens: AsyncLimiter) -> None:
        """What earlier calls owe: more than a minute's worth is taken minute by minute."""
        while self._owed > 0:
            part = min(self._owed, tokens.max_rate)
            await tokens.acquire(part)
            self._owed -= part  # whoever gives up before leaves the debt to the next

    def settle(self, tokens: int) -> None:
        """Owe the tokens that a call has used beyond what was expected: the next call waits for them."""
        self._owed += max(0, tokens - self._policy.tokens_per_call)


class Call:
    """One call, as a breaker knows it from others."""

    __slots__ = ()


class Breaker:
    """Opens after some failures in a row, lets one call through after a rest, and closes when that succeeds."""

    def __init__(self, policy: BreakerPolicy) -> None:
        self._policy = policy
        self._failures = 0
        self._opened: float | None = None
        self._probe: Call | None = None

    def rests_for(self) -> float:
        """Seconds until a call may be made, 0 where one may now."""
        if self._opened is None:
            return 0.0
        left = self._opened + self._policy.rest_s - asyncio.get_running_loop().time()
        if left > 0:
            return left
        return 0.0 if self._probe is None else self._policy.rest_s

    def begin(self) -> Call:
        """A call is made, and told apart from others by what is given back; the first after a rest decides."""
        call = Call()
        if self._opened is not None:
            self._probe = call
        return call

    def succeeded(self, call: Call) -> None:
        """The worker has answered, be it with a failure that is not its own."""
        if self._decides(call):
            self._failures, self._opened, self._probe = 0, None, None

    def failed(self, call: Call) -> None:
        """The worker has failed."""
        if self._decides(call):
            self._failures += 1
            if self._failures >= self._policy.failures:  # also after a probe: only a success takes them back
                self._opened = asyncio.get_running_loop().time()
            self._probe = None

    def gave_up(self, call: Call) -> None:
        """The call was stopped from outside and says nothing of the worker."""
        if call is self._probe:
            self._probe = None

    def _decides(self, call: Call) -> bool:
        """Whether a call's end says anything: one that was made before the breaker opened does not."""
        return self._opened is None or call is self._probe


def worker_limits(worker_id: str, catalog: Catalog, workers: Mapping[str, Worker]) -> WorkerLimits:
    """The limits of a worker: the tighter of what it declares itself and what the catalog declares for it."""
    declared = [workers[worker_id].spec.limits]
    if catalog.has_worker(worker_id):
        declared.append(catalog.worker(worker_id).limits)
    return WorkerLimits(
        max_concurrency=min((e.max_concurrency for e in declared if e.max_concurrency is not None), default=None),
        timeout_s=min((e.timeout_s for e in declared if e.timeout_s is not None), default=None),
    )
