"""OpenTelemetry spans, with the exporter that keeps them in memory."""

import subprocess
import sys

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from orchestai_jax.execution import Tracer
from orchestai_jax.workers import Output, WorkerError


@pytest.fixture
def exported():
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return exporter, provider


def test_a_span_for_the_run_one_a_task_and_the_workers_own_beneath(make, perform, exported):
    exporter, provider = exported

    async def work(task_type, arguments, context):
        with trace.get_tracer("worker", tracer_provider=provider).start_as_current_span(f"http {context.task_id}"):
            if context.attempt == 1 and context.task_id == "b":
                raise WorkerError("busy", retryable=True)
            if context.task_id == "c":
                raise WorkerError("cannot")
        return Output(values={"value": 1}, cost=0.5, tokens=7)

    record = perform(
        make.plan(make.step("a"), make.step("b", "a"), make.step("c"), make.step("d", "c")),
        make.worker(work),
        tracer=Tracer(provider),
        policies={"default": {"retry": {"first_delay_s": 0.0, "jitter_s": 0.0}}},
    )
    spans = exporter.get_finished_spans()
    (run,) = [s for s in spans if s.name == "run workflow"]
    tasks = {s.attributes["orchestai.task"]: s for s in spans if s.name == "task step"}
    assert run.attributes["orchestai.run_id"] == record.run_id
    assert run.attributes["orchestai.tasks"] == 4
    assert sorted(tasks) == ["a", "b", "c"]  # d never ran
    assert all(s.parent.span_id == run.context.span_id for s in tasks.values())
    own = [s for s in spans if s.name == "http b"]
    assert len(own) == 2
    assert {s.parent.span_id for s in own} == {tasks["b"].context.span_id}
    assert tasks["a"].attributes["orchestai.worker"] == "w"
    assert tasks["a"].attributes["orchestai.cost"] == 0.5
    assert tasks["a"].attributes["orchestai.tokens"] == 7
    assert tasks["b"].attributes["orchestai.attempts"] == 2
    assert [(e.name, e.attributes["error"]) for e in tasks["b"].events] == [("attempt failed", "busy")]
    assert tasks["a"].status.status_code is StatusCode.OK
    assert tasks["c"].status.status_code is StatusCode.ERROR
    assert tasks["c"].status.description == "cannot"
    assert tasks["c"].attributes["orchestai.status"] == "failed"


def test_off_by_default_and_not_even_imported():
    script = "import sys, orchestai_jax.execution; sys.exit('opentelemetry' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_without_the_extra_the_tracer_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(ModuleNotFoundError, match=r"orchestai-jax\[otel\]"):
        Tracer()


def test_no_secret_of_an_error_comes_into_spans_or_logs(make, perform, exported, monkeypatch, caplog):
    exporter, provider = exported
    monkeypatch.setenv("SERVICE_API_KEY", "hush-hush-4711")

    async def crash(task_type, arguments, context):
        raise KeyError("refused with hush-hush-4711")

    def listen(event):
        if event.kind == "failed":
            raise RuntimeError("listener saw hush-hush-4711")

    for policies in (None, {"default": {"timeout_s": 5.0}}):
        with pytest.raises(RuntimeError, match="listener saw"):
            perform(make.plan(make.step("t")), make.worker(crash), tracer=Tracer(provider), on_event=listen,
                    policies=policies)  # fmt: skip
    run = next(s for s in exporter.get_finished_spans() if s.name == "run workflow")
    assert run.status.status_code is StatusCode.ERROR
    assert run.status.description.startswith("RuntimeError: listener saw ")
    assert "in crash" in caplog.text  # where it broke
    shown = caplog.text + "".join(s.to_json() for s in exporter.get_finished_spans())
    assert "hush-hush" not in shown
