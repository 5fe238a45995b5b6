"""What discovery found, and its way into a catalog: checked, measured, merged."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

from orchestai_jax.workers.bundled_catalogs import load_bundled_catalog
from orchestai_jax.workers.health import Health, check_worker
from orchestai_jax.workers.local_tool import PRICE_PER_CORE_SECOND
from orchestai_jax.workers.opening import close_workers, open_workers
from orchestai_jax.workflow.catalog import Catalog, TaskType, WorkerSpec
from orchestai_jax.workflow.catalog_merging import merge_catalogs
from orchestai_jax.workflow.connections import HuggingFaceConnection, OpenAIConnection
from orchestai_jax.workflow.prices import Usage

UNMEASURED_QUALITY = 0.5
"""Expected quality of a discovered worker until runs have shown better or worse."""

TYPICAL_USAGE = Usage(input_tokens=600, output_tokens=200, audio_seconds=30.0, characters=600, calls=1)
"""What a call is taken to use where only prices are known."""


@dataclasses.dataclass(frozen=True)
class Found:
    """Workers that a search found.

    Attributes:
        workers: as they would stand in a catalog, not checked yet.
        task_types: those that they bring; others of theirs are of the bundled catalog `model_tasks`.
        passed_over: name and reason of what was found and cannot be used.
    """

    workers: tuple[WorkerSpec, ...]
    task_types: tuple[TaskType, ...] = ()
    passed_over: tuple[tuple[str, str], ...] = ()

    def catalog(self, base: Catalog | None = None) -> Catalog:
        """The workers with every task type that they name, added to `base` where it is given.

        A worker of `base` with the same id is replaced.

        Raises:
            CatalogError: a task type is declared differently in `base`, or none is declared for what a worker names.
        """
        named = {name for worker in self.workers for name in worker.task_types}
        known = () if base is None else base.task_types
        # What is brought comes first: where the base declares it otherwise, merging says so.
        choices = (*self.task_types, *known, *load_bundled_catalog("model_tasks").task_types)
        chosen: dict[str, TaskType] = {}
        for task_type in choices:
            if task_type.id in named:
                chosen.setdefault(task_type.id, task_type)
        found = Catalog(name="discovered", task_types=tuple(chosen.values()), workers=self.workers)
        return found if base is None else merge_catalogs(base, found, replace_workers=True)


@dataclasses.dataclass(frozen=True)
class Checked:
    """The outcome of health checks.

    Attributes:
        catalog: the base with the workers that are healthy, their latency measured.
        healths: worker id to what its check found, the unhealthy ones among them.
    """

    catalog: Catalog
    healths: Mapping[str, Health]

    @property
    def healthy(self) -> list[str]:
        """Ids of the workers that entered the catalog."""
        return [name for name, health in self.healths.items() if health.ok]


async def check_found(found: Found, base: Catalog | None = None, timeout_s: float = 300.0) -> Checked:
    """Check every worker that was found, one after the other, and add the healthy ones to a catalog.

    The latency of a worker is that of the small call that its check made; its cost follows from its prices and typical
    usage, or from its latency and the cores that it takes.

    Args:
        found: what to check.
        base: the catalog that is added to.
        timeout_s: the longest check; the first one of a model may have to download it.

    Raises:
        CatalogError: see `Found.catalog`.
    """
    workers = open_workers(found.catalog(base))
    healths: dict[str, Health] = {}
    measured: list[WorkerSpec] = []
    try:
        for spec in found.workers:
            if spec.id not in workers:
                healths[spec.id] = Health(False, "there is no such worker here")
                continue
            health = healths[spec.id] = await check_worker(workers[spec.id], timeout_s)
            if health.ok:
                measured.append(with_figures(spec, health))
    finally:
        await close_workers(workers.values())
    return Checked(dataclasses.replace(found, workers=tuple(measured)).catalog(base), healths)


def with_figures(spec: WorkerSpec, health: Health) -> WorkerSpec:
    """The entry of a worker with its measured latency, and the cost that follows from it or from its prices."""
    figures: dict[str, float] = {}
    if health.latency_s is not None:
        figures["latency"] = round(health.latency_s, 4)
    match spec.connection:
        case OpenAIConnection(prices=prices):
            figures["cost"] = float(f"{prices.cost(TYPICAL_USAGE):.3g}")
        case HuggingFaceConnection(device="cpu") if health.latency_s is not None:
            from orchestai_jax.workers.huggingface.pipelines import cores_in_use

            figures["cost"] = float(f"{health.latency_s * cores_in_use() * PRICE_PER_CORE_SECOND:.3g}")
    return spec.model_copy(update=figures)


def worker_id(prefix: str, name: str) -> str:
    """An id of letters, digits and underscores: `hf`, `google/vit-base` → `hf_google_vit_base`."""
    return f"{prefix}_{re.sub(r'[^A-Za-z0-9]+', '_', name).strip('_').lower()}"
