"""Reader of Seal-Tools: JSON lines of calls whose parameters may mention an earlier call's response."""

from __future__ import annotations

import logging
import os
import re
from typing import Any

from orchestai_jax.data.located_json import json_lines
from orchestai_jax.data.readers.call_references import Producer, mentions, output_names
from orchestai_jax.data.readers.graph_order import make_sample
from orchestai_jax.data.sample import PlanningSample
from orchestai_jax.workflow.catalog import Catalog

_log = logging.getLogger(__name__)
_RESPONSE = re.compile(r"API_call_\d+")


def read_sealtools(path: str | os.PathLike[str], catalog: Catalog | None = None) -> list[PlanningSample]:
    """Reads `id`, `query` and `calling` [{api, parameters, responses: [API_call_k]}] a line.

    A call depends on every earlier call whose response one of its parameter values mentions. A value that is exactly
    `API_call_k` becomes a reference; its output is the catalog's name of that response, or `API_call_k` itself without
    a catalog. A value with more text around it stays as it is. Mentions of no earlier call count as text, with one
    warning a file.

    Raises:
      DataError: naming the file, the line and the field.
    """
    samples, dangling = [], []
    for entry in json_lines(path):
        calls = entry["calling"].items()
        names = [call["api"].name() for call in calls]
        producers: dict[str, Producer] = {}
        dependencies: list[tuple[int, int]] = []
        arguments: list[dict[str, Any]] = []
        for position, call in enumerate(calls):
            filled: dict[str, Any] = {}
            for name, value in call["parameters"].mapping().items():
                found = [match[0] for match in mentions(value, _RESPONSE)]
                dependencies += [(producers[label].task, position) for label in found if label in producers]
                dangling += [f"{entry.place} ({label})" for label in found if label not in producers]
                producer = producers.get(value) if isinstance(value, str) else None
                filled[name] = (
                    {"value": value} if producer is None else {"task": producer.task, "output": producer.output}
                )
            arguments.append(filled)
            outputs = output_names(names[position], catalog)
            for k, response in enumerate(call["responses"].items() if "responses" in call.mapping() else []):
                label = response.name()
                producers.setdefault(label, Producer(position, outputs[k] if k < len(outputs) else label))
        samples.append(
            make_sample(
                entry,
                "calling",
                id=entry["id"].identifier(),
                instruction=entry["query"].text(),
                task_types=names,
                dependencies=dependencies,
                arguments=tuple(arguments),
            )
        )
    if dangling:
        _log.warning(
            "%s: %d mentions of responses of no earlier call are text; first %s", path, len(dangling), dangling[0]
        )
    return samples
