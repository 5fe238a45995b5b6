"""One call of a worker: what it is given, how long it may take, what its answer or its error means to the run."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable

from orchestai_jax.execution._node import Node
from orchestai_jax.execution._spending import Spending
from orchestai_jax.execution.attempts import being_cancelled, within
from orchestai_jax.execution.failures import CallFailed, masked_traceback, one_line
from orchestai_jax.execution.order import RunOrder
from orchestai_jax.execution.values import BadValueError, check_output, declared_use
from orchestai_jax.workers import Output, WorkerContext

_log = logging.getLogger(__name__)


class Calls:
    """Makes a run's calls.

    Args:
        order: the run.
        spending: is charged with what calls cost, failed ones too.
        on_chunk: is told the text that comes while a task works; None = nobody listens.
    """

    def __init__(self, order: RunOrder, spending: Spending, on_chunk: Callable[[Node, str], None] | None) -> None:
        self._spending, self._on_chunk = spending, on_chunk
        self._root, self._output_folder, self._run_id = order.root, order.output_folder, order.run_id
        self._grace_s = order.policies.grace_s

    async def call(self, node: Node) -> Output:
        """Call the node's worker once, within its time limit, and check its output.

        Raises:
            CallFailed: the worker raised an error, took too long or gave a bad output; what it cost is charged.
        """
        door, task_id = node.door, node.task.id
        context = WorkerContext(
            self._root,
            self._output_folder,
            task_id,
            None if self._on_chunk is None else functools.partial(self._on_chunk, node),
            f"{self._run_id}/{task_id}",
            len(node.earlier) + len(node.attempts) + 1,
        )
        try:
            work = door.worker.run(node.task_type, dict(node.values), context)
            if door.timeout_s is None:
                output = await work
            else:
                output = await within(door.timeout_s, self._grace_s, door.worker_id, work)
        except asyncio.CancelledError:
            if being_cancelled():
                raise
            # Passed on, this would end the task without a state, and its dependents would wait for ever.
            raise CallFailed("worker", f"worker {door.worker_id} cancelled its own work") from None
        except Exception as error:  # noqa: BLE001 - any error of a worker ends its task, never the run
            failure = CallFailed.of(error)
            if failure.kind == "crash":
                _log.warning("worker %s broke on task %s: %s", door.worker_id, task_id, masked_traceback(error))
            self._spending.spent(failure.cost)
            raise failure from (None if failure is error else error)
        try:
            checked = check_output(output, node.task_type, self._root)
        except BadValueError as error:
            cost, tokens = declared_use(output)
            self._spending.spent(cost)
            raise CallFailed("malformed", one_line(str(error)), cost=cost, tokens=tokens) from error
        self._spending.spent(checked.cost)
        return checked
