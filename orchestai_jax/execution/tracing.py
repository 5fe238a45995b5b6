"""OpenTelemetry spans of a run: one for the run, one a task under it. Off unless a tracer is handed to `execute`."""

from __future__ import annotations

import contextlib
from collections.abc import Coroutine, Iterator
from typing import TYPE_CHECKING, Any

from orchestai_jax.execution._node import Node
from orchestai_jax.execution.failures import one_line
from orchestai_jax.execution.order import RunOrder

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer as OpenTelemetryTracer
    from opentelemetry.trace import TracerProvider

NAME = "orchestai_jax.execution"
"""The instrumentation's name."""


class Tracer:
    """Makes the spans. A worker's own spans (an HTTP client's, …) come under its task's.

    Args:
        provider: where spans go; None = the one that OpenTelemetry was set up with.

    Raises:
        ModuleNotFoundError: the extra `otel` is not installed.
    """

    def __init__(self, provider: TracerProvider | None = None) -> None:
        try:
            from opentelemetry import trace
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                f'{error}; spans want the extra otel: pip install "orchestai-jax[otel]"', name=error.name
            ) from error
        self._trace = trace
        self._tracer: OpenTelemetryTracer = trace.get_tracer(NAME, tracer_provider=provider)

    @contextlib.contextmanager
    def run(self, order: RunOrder) -> Iterator[None]:
        """The run's span, around everything."""
        attributes = {
            "orchestai.run_id": order.run_id,
            "orchestai.tasks": len(order.workflow.tasks),
            "orchestai.resumed": order.resumed,
        }
        status, code = self._trace.Status, self._trace.StatusCode
        with self._tracer.start_as_current_span(
            "run workflow", attributes=attributes, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield
            except BaseException as error:
                span.set_status(status(code.ERROR, one_line(f"{type(error).__name__}: {error}")))  # secrets masked
                raise

    async def traced(self, node: Node, work: Coroutine[Any, Any, None]) -> None:
        """Do a task's work inside its span."""
        status, code = self._trace.Status, self._trace.StatusCode
        attributes = {"orchestai.task": node.task.id, "orchestai.task_type": node.task.task_type}
        with self._tracer.start_as_current_span(
            f"task {node.task.task_type}", attributes=attributes, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                await work
            finally:
                span.set_attribute("orchestai.worker", node.door.worker_id)
                span.set_attribute("orchestai.status", str(node.status))
                span.set_attribute("orchestai.attempts", max(1, len(node.attempts)))
                if node.output is not None:
                    span.set_attribute("orchestai.cost", node.output.cost)
                    span.set_attribute("orchestai.tokens", node.output.tokens)
                for attempt in node.attempts:
                    if attempt.error is not None:
                        span.add_event("attempt failed", {"worker": attempt.worker, "error": attempt.error})
                span.set_status(status(code.OK) if node.status == "succeeded" else status(code.ERROR, node.error))
