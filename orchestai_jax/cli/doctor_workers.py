"""What `orchestai doctor` finds out about workers: their catalog, keys, libraries, folders and endpoints."""

from __future__ import annotations

import asyncio
import os
import pathlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from orchestai_jax.cli.doctor_check import Check
from orchestai_jax.cli.errors import one_line

if TYPE_CHECKING:
    from orchestai_jax.workers import Worker
    from orchestai_jax.workflow import Catalog, OpenAIConnection

_ENDPOINT_S = 5.0
"""Seconds that an endpoint may take to answer."""

_MODEL = "local language model"
_REMEDY = "only language tasks without a service need one: list a published model in a --catalog (docs/workers.md)"


def look_at_catalog(names: list[pathlib.Path]) -> Iterator[Check]:
    """The catalogs of `--catalog`, and everything that their workers need."""
    from orchestai_jax.cli.workers import read_catalogs
    from orchestai_jax.workers import open_workers

    shown = ", ".join(map(str, names))
    try:
        catalog = read_catalogs(names)
        workers = open_workers(catalog, simulate=True)
    except (ValueError, OSError) as error:
        yield Check(f"catalog {shown}", "broken", one_line(error), "mend what the line names")
        return
    kinds: dict[str, int] = {}
    for spec in catalog.workers:
        kind = "local" if spec.connection is None else spec.connection.kind
        kinds[kind] = kinds.get(kind, 0) + 1
    counted = ", ".join(f"{number} {kind}" for kind, number in kinds.items()) or "none"
    yield Check(f"catalog {shown}", "ok", f"{len(catalog.task_types)} task types; workers: {counted}")
    yield from _undone(catalog)
    yield _language_model(catalog, workers)
    yield from _absent(catalog, workers)
    yield from _keys(catalog)
    yield from _faults(catalog, workers)
    yield from _endpoints(catalog)


def _undone(catalog: Catalog) -> Iterator[Check]:
    lonely = [t.id for t in catalog.task_types if not catalog.workers_for(t.id)]
    if lonely:
        more = f" and {len(lonely) - 8} more" if len(lonely) > 8 else ""
        remedy = "`orchestai workers discover` finds workers for them"
        yield Check("task types without worker", "missing", ", ".join(lonely[:8]) + more, remedy)


def look_at_language_model() -> Iterator[Check]:
    """Where no catalog is given: whether the Hub's cache holds a model that one could list."""
    from orchestai_jax.workers.language_model_folder import folder_fault

    found = [folder for folder in _cached_models() if folder_fault(folder) is None]
    if found:
        yield Check(_MODEL, "ok", f"in the cache of the Hub: {', '.join(map(str, found[:3]))}")
    else:
        yield Check(_MODEL, "missing", "none in the cache of the Hub, and no catalog is given that lists one", _REMEDY)


def _cached_models() -> list[pathlib.Path]:
    """Snapshots of models in BitNet's layout."""
    home = pathlib.Path(os.environ.get("HF_HOME") or pathlib.Path.home() / ".cache" / "huggingface")
    hub = pathlib.Path(os.environ.get("HF_HUB_CACHE") or home / "hub")
    folders = []
    for config in sorted(hub.glob("models--*/snapshots/*/config.json")):
        try:
            is_bitnet = '"bitnet"' in config.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):  # a download that was never finished
            continue
        folders += [config.parent] if is_bitnet else []
    return folders


def _language_model(catalog: Catalog, workers: dict[str, Worker]) -> Check:
    """Whether a model that can do language tasks in this process is listed; what it lacks is said of each worker."""
    from orchestai_jax.workers import fault_of
    from orchestai_jax.workflow import LanguageModelConnection

    listed = [spec.id for spec in catalog.workers if isinstance(spec.connection, LanguageModelConnection)]
    usable = [name for name in listed if fault_of(workers[name]) is None]
    faulty = [name for name in listed if name not in usable]
    if usable:
        rest = f"; not to be used as they are: {', '.join(faulty)}" if faulty else ""
        return Check(_MODEL, "ok", f"listed: {', '.join(usable)}{rest}")
    if faulty:
        found = f"listed, but not to be used as they are: {', '.join(faulty)}"
        return Check(_MODEL, "missing", found, "see what is said of each below")
    return Check(_MODEL, "missing", "none is listed", _REMEDY)


def _absent(catalog: Catalog, workers: dict[str, Worker]) -> Iterator[Check]:
    absent = [spec.id for spec in catalog.workers if spec.id not in workers]
    if absent:
        remedy = "give each a connection, or leave it out of the catalog"
        yield Check("workers that are not here", "missing", ", ".join(absent[:8]), remedy)


def _keys(catalog: Catalog) -> Iterator[Check]:
    wanted: dict[str, list[str]] = {}
    for spec in catalog.workers:
        names = [getattr(spec.connection, "key_env", None), *getattr(spec.connection, "env", ())]
        for name in names:
            if name:
                wanted.setdefault(name, []).append(spec.id)
    for name, users in wanted.items():
        if os.environ.get(name, "").strip():
            yield Check(f"key {name}", "ok", f"set; used by {len(users)} workers")
        else:
            found = f"not set; wanted by {', '.join(users[:5])}"
            yield Check(f"key {name}", "missing", found, f"set {name} in the environment or in .env")


def _faults(catalog: Catalog, workers: dict[str, Worker]) -> Iterator[Check]:
    """Libraries, programs and folders that are missing; keys have checks of their own."""
    from orchestai_jax.workers import fault_of

    for spec in catalog.workers:
        fault = fault_of(workers[spec.id]) if spec.id in workers else None
        if fault is not None and "environment variable" not in fault:
            yield Check(f"worker {spec.id}", "missing", fault, "see `orchestai workers check`")


def _endpoints(catalog: Catalog) -> Iterator[Check]:
    """Each endpoint is asked once for the models that it serves."""
    from orchestai_jax.workflow import OpenAIConnection

    endpoints: dict[tuple[str, str | None], list[OpenAIConnection]] = {}
    for spec in catalog.workers:
        if isinstance(spec.connection, OpenAIConnection):
            endpoints.setdefault((spec.connection.base_url, spec.connection.key_env), []).append(spec.connection)
    for (url, key), connections in endpoints.items():
        if key is not None and not os.environ.get(key, "").strip():
            continue  # said already
        yield asyncio.run(_endpoint(url, connections))


async def _endpoint(url: str, connections: list[OpenAIConnection]) -> Check:
    from orchestai_jax.workers import WorkerError
    from orchestai_jax.workers.discovery.endpoint_models import list_models

    short = {"connect_s": _ENDPOINT_S, "stall_s": _ENDPOINT_S, "max_wait_s": 0.0, "rate_limit_tries": 1}
    try:
        served = await list_models(connections[0].model_copy(update=short))
    except ModuleNotFoundError as error:
        return Check(f"endpoint {url}", "missing", one_line(error), 'pip install "orchestai-jax[openai]"')
    except WorkerError as error:
        return Check(f"endpoint {url}", "missing", one_line(error), "start the server, or mend base_url or the key")
    gone = sorted({c.model for c in connections} - set(served))
    if gone:
        found = f"does not serve {', '.join(gone[:5])}; it serves {', '.join(served[:5]) or 'nothing'}"
        return Check(f"endpoint {url}", "missing", found, "`orchestai workers discover openai` finds what it serves")
    return Check(f"endpoint {url}", "ok", f"serves {len(served)} models, the catalog's among them")
