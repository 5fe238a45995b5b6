"""What `run` and `runs resume` have in common: workers, threads and processes, the display, the outcome."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import pathlib
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from orchestai_jax.cli.errors import FAILED, WrongUseError
from orchestai_jax.cli.stopping import DaemonThreads, run_to_its_end

if TYPE_CHECKING:
    from orchestai_jax.execution import Event, Tracer
    from orchestai_jax.workers import Worker
    from orchestai_jax.workflow import Catalog, RunRecord

DEFAULT_RECORDS = pathlib.Path("runs/records.jsonl")
"""Where runs are recorded unless `--records` says otherwise, relative to the current folder."""

TraceTarget = Literal["otlp", "console"]

RecordsOption = Annotated[pathlib.Path, typer.Option("--records", metavar="FILE", help="File of run records.")]
ProcessesOption = Annotated[
    int,
    typer.Option("--processes", metavar="N", min=0, help="Run local tools in N processes; default: in threads."),
]
TraceOption = Annotated[
    TraceTarget | None,
    typer.Option("--trace", metavar="otlp|console", help="Send OpenTelemetry spans (extra otel) there."),
]

Start = Callable[["Mapping[str, Worker]", "Callable[[Event], None]", "Tracer | None"], "Coroutine[Any, Any, RunRecord]"]
"""Starts the run with these workers, listener and tracer."""


def journals_of(records: pathlib.Path) -> pathlib.Path:
    """The folder of the journals of unfinished runs: beside their records, one for each file of records."""
    folder = records.parent if records.name == DEFAULT_RECORDS.name else records.parent / records.stem
    return folder / "journals"


@dataclasses.dataclass(frozen=True)
class Running:
    """How a run is carried out and shown."""

    run_id: str
    catalog: Catalog
    root: pathlib.Path
    records: pathlib.Path
    max_concurrency: int
    processes: int = 0
    trace: TraceTarget | None = None
    as_json: bool = False

    def carry_out(self, start: Start) -> None:
        """Run, show it while it goes on, print what came of it; exits with 1 unless every task succeeded."""
        from orchestai_jax.cli.console import open_console
        from orchestai_jax.cli.run_display import LiveTree, PlainLines, record_tree, totals

        console = open_console(quiet=self.as_json)
        live = console.is_terminal and not self.as_json
        display = LiveTree(console, self.root) if live else PlainLines(console)
        ended = False

        def listen(event: Event) -> None:
            nonlocal ended
            ended = ended or event.kind == "ended"  # its record is written by then
            display(event)

        tracer = None if self.trace is None else open_tracer(self.trace)
        try:
            with display:
                record = run_to_its_end(self._among_workers(start, listen, tracer))
        except KeyboardInterrupt:
            if ended:
                typer.echo(
                    f"orchestai: stopped; what was done stands in {self.records} as run {self.run_id}; "
                    f"`orchestai runs resume {self.run_id}` goes on",
                    err=True,
                )
            raise
        if self.as_json:
            typer.echo(record.model_dump_json(indent=2))
        else:
            if not live:
                console.print(record_tree(record, self.root))
            console.print(totals(record))
            console.print(f"record appended to {self.records}", markup=False)
        if record.status != "succeeded":
            raise typer.Exit(FAILED)

    async def _among_workers(self, start: Start, listen: Callable[[Event], None], tracer: Tracer | None) -> RunRecord:
        from orchestai_jax.execution import ProcessPool, ProcessWorker
        from orchestai_jax.workers import LocalTool, close_workers, open_workers

        # Threads for all tools that may run at once: asyncio's own pool has few more than the machine has cores.
        asyncio.get_running_loop().set_default_executor(DaemonThreads(2 * self.max_concurrency))
        workers = open_workers(self.catalog)
        with contextlib.ExitStack() as stack:
            if self.processes:
                pool = stack.enter_context(ProcessPool(self.processes))
                workers = {
                    name: ProcessWorker(worker, pool) if isinstance(worker, LocalTool) else worker
                    for name, worker in workers.items()
                }
            try:
                return await start(workers, listen, tracer)
            finally:
                await close_workers(workers.values())


def open_tracer(target: TraceTarget) -> Tracer:
    """A tracer that sends spans to the console (stderr), or by OTLP where the `OTEL_EXPORTER_OTLP_…` variables say."""
    from orchestai_jax.execution import Tracer

    try:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SimpleSpanProcessor

        provider = TracerProvider(resource=Resource.create({"service.name": "orchestai"}))
        if target == "console":
            import sys

            provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(out=sys.stderr)))
        else:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

            provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    except ModuleNotFoundError as error:
        raise WrongUseError(
            f'--trace wants the extra otel ({error}); install it with pip install "orchestai-jax[otel]"'
        ) from error
    return Tracer(provider)
