"""Workers: what does the tasks of a workflow. Here are the local tools that work on real files."""

from orchestai_jax.workers.arguments import check_arguments
from orchestai_jax.workers.local_tool import PRICE_PER_CORE_SECOND, LocalTool
from orchestai_jax.workers.paths import resolve_inside
from orchestai_jax.workers.quality import measure_quality
from orchestai_jax.workers.registry import local_workers
from orchestai_jax.workers.worker import Output, Worker, WorkerContext, WorkerError

__all__ = [
    "PRICE_PER_CORE_SECOND",
    "LocalTool",
    "Output",
    "Worker",
    "WorkerContext",
    "WorkerError",
    "check_arguments",
    "local_workers",
    "measure_quality",
    "resolve_inside",
]
