"""What happens when calling a worker is more than a call: rates, breakers, time limits, retries, other workers.

A task whose first call succeeds, of a worker without any of these, never comes here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Sequence
from typing import Any, Protocol

import tenacity

from orchestai_jax.execution._node import Door, Node
from orchestai_jax.execution.events import EventKind
from orchestai_jax.execution.failures import CallFailed, masked_traceback
from orchestai_jax.execution.gates import Call
from orchestai_jax.execution.values import declared_use
from orchestai_jax.workers import Output
from orchestai_jax.workflow import Attempt

_log = logging.getLogger(__name__)

_LEFT_BEHIND: set[asyncio.Future[Any]] = set()
"""Calls that did not stop when they were told to; asyncio itself holds its tasks only weakly."""


class Host(Protocol):
    """What attempts need of the run that they belong to."""

    def clock(self) -> float:
        """Seconds since the run began."""
        ...

    def tell(self, kind: EventKind, **what: Any) -> None:
        """Tell the run's listener."""
        ...

    async def place(self, node: Node) -> None:
        """Wait for a place of the worker's and one of the run's."""
        ...

    def release(self, node: Node) -> None:
        """Give both back."""
        ...

    def call(self, node: Node) -> Awaitable[Output]:
        """Call the node's worker once and check its output."""
        ...

    def write_down(self, node: Node, failed: Attempt) -> None:
        """Keep a call that failed."""
        ...

    def other_doors(self, node: Node) -> Sequence[Door]:
        """Other workers that can do the task, best first."""
        ...


async def carry_out(host: Host, node: Node, failure: CallFailed | None = None) -> Output:
    """Call the task's worker until it succeeds, as often as its policy says, then others that can do the task.

    Args:
        host: the run.
        node: the task; its attempts are written down in it, and its door is the worker that was called last.
        failure: of the first call, where that was made already.

    Raises:
        CallFailed: nobody could do it; the error is the first worker's, the attempts say the rest.
    """
    first, errors = failure, []
    doors = [node.door]
    number = 0
    while number < len(doors):
        door = doors[number]
        if number:
            host.tell("rerouted", task=node.task, attempt=node.attempts[-1] if node.attempts else None,
                      worker=door.worker_id)  # fmt: skip
            node.door = door
        try:
            if first is None:
                try:
                    return await call_once(host, node)
                except CallFailed as error:
                    first = error
            if number == 0:
                doors += host.other_doors(node)
            is_last = number + 1 == len(doors)
            return await _call_again(host, node, first, may_rest=is_last)
        except CallFailed as error:
            error.let_go()
            errors.append((door.worker_id, error))
        first, number = None, number + 1
    node.door = doors[0]
    _, told = errors[0]
    if len(errors) > 1:
        alike = " and ".join(worker_id for worker_id, error in errors[1:] if str(error) == str(told))
        parts = [f"the same of {alike}"] if alike else []
        parts += [f"then {worker_id}: {error}" for worker_id, error in errors[1:] if str(error) != str(told)]
        others = "; ".join(parts)
        raise CallFailed(told.kind, f"{told} ({others})") from told
    raise told


async def _call_again(host: Host, node: Node, first: CallFailed, *, may_rest: bool) -> Output:
    """After a worker's first call has failed, call it again as its policy says."""
    policy = node.door.policy.retry

    def again(error: BaseException) -> bool:
        if not isinstance(error, CallFailed) or error.kind not in policy.errors:
            return False
        if error.kind == "resting":
            return may_rest  # where another can do it nobody waits for a resting worker
        return error.retry_after_s is None or error.retry_after_s <= policy.max_asked_delay_s

    backoff = tenacity.wait_exponential(
        multiplier=policy.first_delay_s, exp_base=policy.factor, max=policy.max_delay_s
    ) + tenacity.wait_random(0, policy.jitter_s)

    def delay(state: tenacity.RetryCallState) -> float:
        error = None if state.outcome is None else state.outcome.exception()
        asked = error.retry_after_s if isinstance(error, CallFailed) and error.retry_after_s is not None else 0.0
        return max(asked, backoff(state))

    # What tenacity makes holds itself in a circle, and `tell` with it: what `tell` needs is taken out at the end, or
    # the whole run stayed until the collector found it.
    concerned = [(host, node)]

    def tell(state: tenacity.RetryCallState) -> None:
        error = None if state.outcome is None else state.outcome.exception()
        if isinstance(error, CallFailed):
            error.let_go()
        for host, node in concerned:
            host.tell(
                "retried",
                task=node.task,
                attempt=node.attempts[-1] if node.attempts else None,
                worker=node.door.worker_id,
                delay_s=0.0 if state.next_action is None else state.next_action.sleep,
            )

    made: CallFailed | None = first
    retrying = tenacity.AsyncRetrying(
        stop=tenacity.stop_after_attempt(policy.attempts),
        wait=delay,
        retry=tenacity.retry_if_exception(again),
        sleep=asyncio.sleep,
        before_sleep=tell,
        reraise=True,
    )
    try:
        async for attempt in retrying:
            with attempt:
                if made is not None:
                    error, made = made, None
                    raise error
                return await call_once(host, node)
    finally:
        concerned.clear()
    raise AssertionError("tenacity ends with a result or an error")


async def call_once(host: Host, node: Node) -> Output:
    """One call under the worker's rate limit and breaker, written down in the node's attempts.

    Raises:
        CallFailed: it failed, or the breaker is open (which is no call and is not written down).
    """
    door = node.door
    gate = door.gate
    if gate.rate is not None:  # nobody holds a place while he waits for the rate
        async with gate.in_line:
            await gate.rate.take()
            await host.place(node)
        if not node.attempts:
            node.started_s = host.clock()  # the wait was not the task's
    elif not node.holds:
        await host.place(node)
    in_breaker: Call | None = None
    try:
        if gate.breaker is not None:
            rests = gate.breaker.rests_for()
            if rests > 0:
                raise CallFailed(
                    "resting",
                    f"worker {door.worker_id} has failed too often and is left alone for {rests:.1f} s more",
                    retry_after_s=rests,
                )
            in_breaker = gate.breaker.begin()
        started = host.clock()
        try:
            output = await host.call(node)
        except asyncio.CancelledError:
            if gate.breaker is not None and in_breaker is not None:
                gate.breaker.gave_up(in_breaker)
            raise
        except CallFailed as failure:
            note(host, node, started, failure)
            if gate.rate is not None:
                gate.rate.settle(failure.tokens)
            if gate.breaker is not None and in_breaker is not None:
                if failure.kind in ("transient", "timeout", "crash"):
                    gate.breaker.failed(in_breaker)
                else:
                    gate.breaker.succeeded(in_breaker)
            if being_cancelled():  # the run is being stopped: nobody calls again
                raise asyncio.CancelledError from failure
            raise
        if gate.breaker is not None and in_breaker is not None:
            gate.breaker.succeeded(in_breaker)
        if gate.rate is not None:
            gate.rate.settle(output.tokens)
        if node.attempts or node.earlier:
            note(host, node, started, output)
        return output
    finally:
        host.release(node)


def note(host: Host, node: Node, started: float, how: CallFailed | Output) -> None:
    """Write a call down in the node's attempts."""
    attempt = Attempt(
        worker=node.door.worker_id,
        started_s=started,
        duration_s=max(0.0, host.clock() - started),
        cost=how.cost,
        tokens=how.tokens,
        error=str(how) if isinstance(how, CallFailed) else None,
    )
    node.attempts = (*node.attempts, attempt)
    if attempt.error is not None:
        host.write_down(node, attempt)


def being_cancelled() -> bool:
    """Whether somebody asked the current asyncio task to stop."""
    current = asyncio.current_task()
    return current is not None and current.cancelling() > 0


async def within(seconds: float, grace_s: float, worker_id: str, work: Awaitable[Any]) -> Any:
    """The result of a worker's work within a time limit.

    It runs in an asyncio task of its own, so that work that does not stop when it is told to is left behind after
    `grace_s` and holds nobody up. When the caller is cancelled, a result that comes all the same is his, as it would be
    without a limit; what comes after the limit is no result, but what it cost is said.

    Raises:
        CallFailed: it took longer (kind `timeout`).
        asyncio.CancelledError: the caller was cancelled, or the work cancelled itself.
    """
    call = asyncio.ensure_future(work)
    try:
        await asyncio.wait({call}, timeout=seconds)
    except asyncio.CancelledError:
        await _stop(call, grace_s, worker_id)
        if call.done() and not call.cancelled():
            return call.result()
        raise
    if call.done():
        return call.result()
    await _stop(call, grace_s, worker_id)
    cost, tokens = (0.0, 0) if not call.done() or call.cancelled() else declared_use(call.exception() or call.result())
    message = f"worker {worker_id} took longer than its limit of {seconds:g} s"
    raise CallFailed("timeout", message, cost=cost, tokens=tokens)


async def _stop(call: asyncio.Future[Any], grace_s: float, worker_id: str) -> None:
    """Tell a call to stop and wait until it has; one that does not is left behind."""
    call.cancel()
    try:
        await asyncio.wait({call}, timeout=grace_s)
    finally:
        if not call.done():
            leave_behind(worker_id, call)
        elif not call.cancelled() and (error := call.exception()) is not None:
            _log.debug("worker %s broke when it was told to stop: %s", worker_id, masked_traceback(error))


def leave_behind(worker_id: str, call: asyncio.Future[Any]) -> None:
    """Give up waiting for a call that does not stop; its outcome, if it ever has one, is dropped."""
    _log.warning("worker %s does not stop when it is told to; it is left behind", worker_id)
    _LEFT_BEHIND.add(call)
    call.add_done_callback(_LEFT_BEHIND.discard)
    call.add_done_callback(lambda done: done.cancelled() or done.exception())
