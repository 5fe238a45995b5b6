"""The workers that a catalog lists, opened: local tools, and what their connections lead to."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from orchestai_jax.workers.discovery.entry_points import WorkerOffer, find_offer
from orchestai_jax.workers.health import broke_with
from orchestai_jax.workers.local_language_model import LocalLanguageModel
from orchestai_jax.workers.registry import local_workers
from orchestai_jax.workers.simulated import SimulatedWorker
from orchestai_jax.workers.unavailable import UnavailableWorker
from orchestai_jax.workers.worker import Worker
from orchestai_jax.workflow.catalog import Catalog, TaskType, WorkerSpec
from orchestai_jax.workflow.connections import (
    EntryPointConnection,
    HuggingFaceConnection,
    LanguageModelConnection,
    McpConnection,
    OpenAIConnection,
    SimulatedConnection,
)

_LOG = logging.getLogger(__name__)


def open_workers(catalog: Catalog, *, simulate: bool = False) -> dict[str, Worker]:
    """Every worker of a catalog that is to be had here, by its id.

    Nothing is connected, downloaded or started before a worker's first task or check. A worker whose library is not
    installed is there too, and fails with the reason; a worker without a connection that is no local tool is not.

    Args:
        catalog: what to open. Simulated workers in it are left out, unless they are asked for.
        simulate: ask for them.

    Raises:
        ValueError: a worker is listed for a task type that it cannot do, or with a tool that nobody here does.
    """
    workers: dict[str, Worker] = dict(local_workers(catalog))
    servers: dict[McpConnection, Any] = {}
    offers: dict[str, WorkerOffer | str] = {}
    models: list[WorkerSpec] = []
    for spec in catalog.workers:
        match spec.connection:
            case OpenAIConnection():
                models.append(spec)  # last, for they may call the others as tools
            case HuggingFaceConnection():
                workers[spec.id] = _with_extra(spec, "huggingface", lambda s=spec: _huggingface(s, catalog))
            case LanguageModelConnection():
                workers[spec.id] = LocalLanguageModel(spec, _task_types(spec, catalog))
            case McpConnection() as connection:
                workers[spec.id] = _with_extra(spec, "mcp", lambda s=spec, c=connection: _mcp(s, c, servers))
            case EntryPointConnection() as connection:
                if connection.name not in offers:
                    offers[connection.name] = find_offer(connection.name)
                workers[spec.id] = _installed(spec, connection.name, offers[connection.name])
            case SimulatedConnection():
                if simulate:
                    workers[spec.id] = SimulatedWorker(spec)
    for spec in models:
        tools = _tools(spec, catalog, workers)
        workers[spec.id] = _with_extra(spec, "openai", lambda s=spec, t=tools: _openai(s, catalog, t))
    return {spec.id: workers[spec.id] for spec in catalog.workers if spec.id in workers}


async def close_workers(workers: Iterable[Worker]) -> None:
    """Close connections and end servers that workers opened in the running event loop. They open anew when used.

    A worker that cannot be closed is named in a warning; those after it are closed all the same.
    """
    for worker in workers:
        close = getattr(worker, "close", None)
        if close is None:
            continue
        try:
            await close()
        except Exception as error:  # noqa: BLE001 - foreign code
            _LOG.warning("worker %s was not closed: %s", worker.spec.id, broke_with(error))


def fault_of(worker: Worker) -> str | None:
    """What keeps a worker from working, as far as that can be seen at once and without the network.

    A key that is not set, a library or program that is not installed, a folder that is not there. None where nothing
    of the kind is missing, and for workers that have no `fault` to ask for.
    """
    fault: Callable[[], str | None] | None = getattr(worker, "fault", None)
    try:
        return None if fault is None else fault()
    except Exception as error:  # noqa: BLE001 - foreign code; that it breaks is the finding
        return f"worker {worker.spec.id}: its own fault() failed with {broke_with(error)}"


def _with_extra(spec: WorkerSpec, extra: str, make: Callable[[], Worker]) -> Worker:
    try:
        return make()
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("orchestai_jax"):
            raise
        remedy = f'pip install "orchestai-jax[{extra}]"'
        return UnavailableWorker(spec, f"worker {spec.id} needs the library {error.name!r}; install it with {remedy}")


def _task_types(spec: WorkerSpec, catalog: Catalog) -> list[TaskType]:
    return [catalog.task_type(name) for name in spec.task_types]


def _tools(spec: WorkerSpec, catalog: Catalog, workers: Mapping[str, Worker]) -> list[tuple[TaskType, Worker]]:
    assert isinstance(spec.connection, OpenAIConnection)
    tools = []
    for name in spec.connection.tools:
        if name not in catalog.index:
            raise ValueError(f"worker {spec.id!r}: its tool {name!r} is no task type of catalog {catalog.name!r}")
        able = [workers[w.id] for w in catalog.workers_for(name) if w.id in workers and w.id != spec.id]
        if not able:
            raise ValueError(f"worker {spec.id!r}: no worker of catalog {catalog.name!r} can do its tool {name!r}")
        tools.append((catalog.task_type(name), able[0]))
    return tools


def _openai(spec: WorkerSpec, catalog: Catalog, tools: list[tuple[TaskType, Worker]]) -> Worker:
    module = importlib.import_module("orchestai_jax.workers.openai_compatible")
    return module.OpenAIWorker(spec, _task_types(spec, catalog), tools)


def _huggingface(spec: WorkerSpec, catalog: Catalog) -> Worker:
    module = importlib.import_module("orchestai_jax.workers.huggingface")
    return module.HuggingFaceWorker(spec, _task_types(spec, catalog))


def _mcp(spec: WorkerSpec, connection: McpConnection, servers: dict[McpConnection, Any]) -> Worker:
    module = importlib.import_module("orchestai_jax.workers.mcp_servers")
    server = connection.model_copy(update={"tool": None})
    return module.McpWorker(spec, servers.setdefault(server, module.McpServer(server)))


def _installed(spec: WorkerSpec, name: str, offer: WorkerOffer | str) -> Worker:
    if isinstance(offer, str):
        return UnavailableWorker(spec, offer)
    found = {worker.spec.id: worker for worker in offer.workers}
    if spec.id not in found:
        known = ", ".join(found) or "none"
        return UnavailableWorker(spec, f"entry point {name!r} gives no worker {spec.id!r}; it gives {known}")
    return found[spec.id]
