"""Reader of the JSON lines that TaskBench, UltraTool and GNN4TaskPlan share."""

from __future__ import annotations

import logging
import os
import re
from typing import Any

from orchestai_jax.data.located_json import Located, json_lines
from orchestai_jax.data.readers.graph_order import make_sample
from orchestai_jax.data.sample import PlanningSample
from orchestai_jax.workflow.catalog import Catalog

_log = logging.getLogger(__name__)
_NODE_REFERENCE = re.compile(r"<node-(\d+)>")
_STEP_PREFIX = re.compile(r"^\s*step\s*\d+\s*[:.)-]?\s*", re.IGNORECASE)


def read_taskbench(path: str | os.PathLike[str], catalog: Catalog | None = None) -> list[PlanningSample]:
    """Reads `id`, `user_request`, `task_nodes` [{task, arguments?}], `task_links` [{source, target}] a line.

    Links name tools, samples hold positions: where a tool stands more than once, a link takes the nearest forward pair
    of positions that no earlier link took. A tool linked to itself that stands once has no such pair: these links are
    left out and counted in one warning. `task_steps` become `step_texts` (without `Step 1 Call tool to`) where each
    task has a step, or each step names its task. An argument `<node-k>` is a reference to task k.

    Raises:
      DataError: naming the file, the line and the field.
    """
    samples, loops = [], 0
    for entry in json_lines(path):
        nodes = entry["task_nodes"].items()
        names = [node["task"].name() for node in nodes]
        dependencies, skipped = _links(entry, names)
        loops += skipped
        arguments = None
        if any("arguments" in node.mapping() for node in nodes):
            arguments = tuple(_arguments(node, names, catalog) for node in nodes)
        samples.append(
            make_sample(
                entry,
                "task_links",
                id=entry["id"].identifier(),
                instruction=entry["user_request"].text(),
                task_types=names,
                dependencies=dependencies,
                arguments=arguments,
                step_texts=_step_texts(entry, names),
            )
        )
    if loops:
        _log.warning("%s: left out %d links from a tool to itself where the tool stands only once", path, loops)
    return samples


def _links(entry: Located, names: list[str]) -> tuple[list[tuple[int, int]], int]:
    taken: dict[tuple[int, int], None] = {}
    loops = 0
    for link in entry["task_links"].items() if "task_links" in entry.mapping() else []:
        ends = []
        for side in ("source", "target"):
            name = link[side].name()
            if name not in names:
                raise link[side].error(f"names `{name}`, which is not among the task_nodes ({', '.join(names)})")
            ends.append([i for i, other in enumerate(names) if other == name])
        pairs = [(s, t) for s in ends[0] for t in ends[1] if s != t]
        # Forward before backward, near before far: for a chain that is the chain.
        pairs.sort(key=lambda pair: (pair[0] > pair[1], abs(pair[1] - pair[0]), pair[0]))
        free = [pair for pair in pairs if pair not in taken and (pair[0] < pair[1] or len(pairs) == 1)]
        if free:
            taken[free[0]] = None
        elif not pairs:
            loops += 1
        elif not any(pair in taken for pair in pairs):
            taken[pairs[0]] = None
    return list(taken), loops


def _arguments(node: Located, names: list[str], catalog: Catalog | None) -> dict[str, Any]:
    """Arguments come as a mapping, as a list of {name, value}, or as a list of bare values (named by position)."""
    if not node.has("arguments"):
        return {}
    given = node["arguments"]
    if isinstance(given.value, dict):
        return {name: _argument(value, names, catalog) for name, value in given.value.items()}
    result: dict[str, Any] = {}
    for position, item in enumerate(given.items()):
        if isinstance(item.value, dict) and "name" in item.value:
            result[item["name"].name()] = _argument(item["value"].value, names, catalog)
        else:
            result[f"argument_{position}"] = _argument(item.value, names, catalog)
    return result


def _argument(value: Any, names: list[str], catalog: Catalog | None) -> dict[str, Any]:
    match = _NODE_REFERENCE.fullmatch(value) if isinstance(value, str) else None
    if match is None or int(match[1]) >= len(names):
        return {"value": value}
    producer = int(match[1])
    known = catalog is not None and names[producer] in catalog.index
    outputs = catalog.task_type(names[producer]).outputs if catalog is not None and known else ()
    return {"task": producer, "output": outputs[0].name if outputs else "output"}


def _step_texts(entry: Located, names: list[str]) -> tuple[str, ...] | None:
    if not entry.has("task_steps") or not names:
        return None
    steps = [_STEP_PREFIX.sub("", step.text()).strip() for step in entry["task_steps"].items()]
    if len(steps) == len(names):
        return tuple(_without_call(step, name) for step, name in zip(steps, names, strict=True))
    # Several steps a task: they can be told apart only when each names its task and the tasks differ.
    if len(set(names)) < len(names) or not all(any(_names(step, name) for name in names) for step in steps):
        return None
    merged = []
    for name in names:
        own = [_without_call(step, name) for step in steps if _names(step, name)]
        if not own:
            return None
        merged.append("; ".join(own))
    return tuple(merged)


def _names(step: str, name: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", step) is not None


def _without_call(step: str, name: str) -> str:
    """`Call file_write to create a document` becomes `create a document`: the words, not the name that is sought."""
    return re.sub(rf"^(call|use|run|using)\s+{re.escape(name)}(?!\w)\s*(to\s+|for\s+)?", "", step, flags=re.I) or step
