"""Reader of NESTFUL: a JSON array of nested call sequences with `$var1.field$` references."""

from __future__ import annotations

import logging
import os
import pathlib
import re
from typing import Any

from orchestai_jax.data.located_json import json_array
from orchestai_jax.data.readers.call_references import mentions, output_names
from orchestai_jax.data.readers.graph_order import make_sample
from orchestai_jax.data.sample import PlanningSample
from orchestai_jax.workflow.catalog import Catalog

_log = logging.getLogger(__name__)
_REFERENCE = re.compile(r"\$(\w*[A-Za-z_]\w*)((?:[.\[][^$]*)?)\$")
"""A label holds a letter, so that `$100-$200` and `$5.00$` are money."""
_RESULT = "var_result"


def read_nestful(path: str | os.PathLike[str], catalog: Catalog | None = None) -> list[PlanningSample]:
    """Reads `input` and `output` [{name, arguments, label}] of each entry; the closing pseudo-call is left out.

    A call depends on every earlier call that one of its argument values references. A value that is exactly
    `$var1.field$` becomes a reference to the output `field`; `$var1$` to the catalog's output where there is just one,
    else to `output`. A value with more text around it stays as it is. References to no earlier call count as text, with
    one warning a file. Ids are `sample_id` where given, else the file's name and the entry's number.

    Raises:
      DataError: naming the file, the line on which the entry starts, and the field.
    """
    samples, dangling = [], []
    for number, entry in enumerate(json_array(path)):
        calls = [call for call in entry["output"].items() if call["name"].name() != _RESULT]
        names = [call["name"].name() for call in calls]
        labels: dict[str, int] = {}
        dependencies: list[tuple[int, int]] = []
        arguments: list[dict[str, Any]] = []
        for position, call in enumerate(calls):
            filled: dict[str, Any] = {}
            for name, value in call["arguments"].mapping().items():
                for match in mentions(value, _REFERENCE):
                    if match[1] in labels:
                        dependencies.append((labels[match[1]], position))
                    else:
                        dangling.append(f"{entry.place} ({match[0]})")
                whole = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
                if whole is not None and whole[1] in labels:
                    outputs = output_names(names[labels[whole[1]]], catalog)
                    only = outputs[0] if len(outputs) == 1 else "output"
                    filled[name] = {"task": labels[whole[1]], "output": whole[2].lstrip(".") or only}
                else:
                    filled[name] = {"value": value}
            arguments.append(filled)
            if call.has("label"):
                labels.setdefault(call["label"].name().strip("$"), position)
        given = entry["sample_id"].identifier() if entry.has("sample_id") else f"{pathlib.Path(path).stem}-{number}"
        samples.append(
            make_sample(
                entry,
                "output",
                id=given,
                instruction=entry["input"].text(),
                task_types=names,
                dependencies=dependencies,
                arguments=tuple(arguments),
            )
        )
    if dangling:
        _log.warning("%s: %d references to no earlier call are text; first %s", path, len(dangling), dangling[0])
    return samples
