"""The hand-written requests: instructions that no template made, with the plan that somebody had in mind."""

from __future__ import annotations

import hashlib
import importlib.resources
from collections.abc import Mapping
from typing import Any

import yaml

from orchestai_jax.config import Preference
from orchestai_jax.data import PlanningSample
from orchestai_jax.quickstart.training_data import label
from orchestai_jax.quickstart.worker_outcomes import WorkerOutcomes
from orchestai_jax.workflow import Catalog


class RequestsError(ValueError):
    """A hand-written request that cannot be used. The message names its number and field."""


REQUEST_SETS = {"held-out": "requests.yaml", "development": "development_requests.yaml"}
"""The sets that ship with the package. Whoever works on the planner scores it on `development`."""


def check_request_set(name: str) -> None:
    """Raise RequestsError for a set of requests that there is not, naming those that there are."""
    if name not in REQUEST_SETS:
        raise RequestsError(f"requests is {name!r}; allowed: {', '.join(REQUEST_SETS)}")


def load_requests(catalog: Catalog, outcomes: WorkerOutcomes, name: str = "held-out") -> list[PlanningSample]:
    """The requests of a set that ships with the package, each with the best workers under the preference it states.

    Raises RequestsError for a set that there is not.
    """
    check_request_set(name)
    folder = importlib.resources.files("orchestai_jax.quickstart")
    text = folder.joinpath(REQUEST_SETS[name]).read_text(encoding="utf-8")
    return parse_requests(yaml.safe_load(text), catalog, outcomes)


def parse_requests(content: Any, catalog: Catalog, outcomes: WorkerOutcomes) -> list[PlanningSample]:
    """Read requests from YAML data: `requests`, a list of `{text, tasks, edges, preference}`.

    `tasks` are task type ids in an order in which they can run, `edges` pairs of positions in it (producer, consumer;
    none when left out), `preference` one of Preference.PRESETS (balanced when left out).

    Raises RequestsError naming the request and the field.
    """
    entries = content.get("requests") if isinstance(content, Mapping) else content
    if not isinstance(entries, list) or not entries:
        raise RequestsError("requests: expected a list of requests")
    return [_sample(number, entry, catalog, outcomes) for number, entry in enumerate(entries, start=1)]


def _sample(number: int, entry: Any, catalog: Catalog, outcomes: WorkerOutcomes) -> PlanningSample:
    where = f"requests, number {number}"
    if not isinstance(entry, Mapping) or not isinstance(entry.get("text"), str) or not entry["text"].strip():
        raise RequestsError(f"{where}: text is missing")
    tasks = entry.get("tasks")
    if not isinstance(tasks, list) or not tasks:
        raise RequestsError(f"{where}: tasks is missing; give the ids of the task types")
    for task_type in tasks:
        if task_type not in catalog.index:
            raise RequestsError(f"{where}: task type {task_type!r} is not in the catalog {catalog.name!r}")
    name = entry.get("preference") or "balanced"
    if name not in Preference.PRESETS:
        raise RequestsError(f"{where}: preference is {name!r}; allowed: {', '.join(Preference.PRESETS)}")
    try:
        sample = PlanningSample(
            id=f"request-{number:03d}-{hashlib.sha256(entry['text'].encode()).hexdigest()[:8]}",
            instruction=entry["text"].strip(),
            task_types=tuple(tasks),
            dependencies=tuple((int(source), int(target)) for source, target in entry.get("edges") or ()),
        )
    except (TypeError, ValueError) as error:
        raise RequestsError(f"{where}: edges: {error}") from error
    return label(sample, outcomes, Preference.PRESETS[name])
