"""What a run is governed by, of a file and of options: `--policies`, and what stands in the place of the file's."""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from orchestai_jax.execution import RunPolicies

PoliciesOption = Annotated[
    pathlib.Path | None,
    typer.Option(
        "--policies",
        metavar="FILE",
        help="YAML: retries, time limits, rates, breakers, budget, by worker and task.",
    ),
]
TimeoutOption = Annotated[
    float | None, typer.Option("--timeout", metavar="SECONDS", help="What one call of a worker may take.")
]


def read_policies(file: pathlib.Path | None, given: dict[str, Any]) -> RunPolicies:
    """The policies of a file, with what was given on the command line in the place of the file's."""
    from orchestai_jax.execution import load_policies, parse_policies

    fields = _without_none(given)
    return parse_policies(fields, "the options") if file is None else load_policies(file, fields)


def _without_none(fields: dict[str, Any]) -> dict[str, Any]:
    inner = {key: _without_none(value) if isinstance(value, dict) else value for key, value in fields.items()}
    return {key: value for key, value in inner.items() if value is not None and value != {}}
