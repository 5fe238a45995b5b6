"""Workers: what does the tasks of a workflow. Local tools on real files, models behind endpoints, tools of servers."""

from orchestai_jax.workers.arguments import check_arguments
from orchestai_jax.workers.bundled_catalogs import BUNDLED_CATALOGS, load_bundled_catalog
from orchestai_jax.workers.discovery.entry_points import WorkerOffer
from orchestai_jax.workers.health import CheckedWorker, Health, check_worker
from orchestai_jax.workers.local_tool import PRICE_PER_CORE_SECOND, LocalTool
from orchestai_jax.workers.opening import close_workers, fault_of, open_workers
from orchestai_jax.workers.paths import resolve_inside
from orchestai_jax.workers.quality import measure_quality
from orchestai_jax.workers.registry import local_workers
from orchestai_jax.workers.thread_places import ThreadPlaces
from orchestai_jax.workers.thread_worker import ThreadWorker
from orchestai_jax.workers.worker import Output, Worker, WorkerContext, WorkerError

__all__ = [
    "BUNDLED_CATALOGS",
    "PRICE_PER_CORE_SECOND",
    "CheckedWorker",
    "Health",
    "LocalTool",
    "Output",
    "ThreadPlaces",
    "ThreadWorker",
    "Worker",
    "WorkerContext",
    "WorkerError",
    "WorkerOffer",
    "check_arguments",
    "check_worker",
    "close_workers",
    "fault_of",
    "load_bundled_catalog",
    "local_workers",
    "measure_quality",
    "open_workers",
    "resolve_inside",
]
