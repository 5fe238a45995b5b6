"""What governs runs, for `run` and `collect` alike: where, how many tasks at once, time, money, policies."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestai_jax.cli.errors import WrongUseError
from orchestai_jax.cli.running import DEFAULT_RECORDS

if TYPE_CHECKING:
    from orchestai_jax.execution import RunPolicies


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """What was given of them. Raises WrongUseError where the root is no folder."""

    root: Annotated[pathlib.Path, typer.Option("--root", metavar="DIR", help="Folder that files are read inside.")] = (
        pathlib.Path()
    )
    records: Annotated[
        pathlib.Path, typer.Option("--records", metavar="FILE", help="The record of a run is appended to this file.")
    ] = DEFAULT_RECORDS
    max_concurrency: Annotated[
        int, typer.Option("--max-concurrency", metavar="N", min=1, help="Tasks of a run that may run at once.")
    ] = 4
    policies: Annotated[
        pathlib.Path | None,
        typer.Option(
            "--policies",
            metavar="FILE",
            help="YAML: retries, time limits, rates, breakers, budget, by worker and task.",
        ),
    ] = None
    timeout: Annotated[
        float | None, typer.Option("--timeout", metavar="SECONDS", help="What one call of a worker may take.")
    ] = None
    budget: Annotated[
        float | None,
        typer.Option("--budget", metavar="DOLLARS", help="What a run may cost."),
    ] = None
    deadline: Annotated[
        float | None,
        typer.Option(
            "--deadline",
            metavar="SECONDS",
            help="When what still runs of a run is stopped.",
        ),
    ] = None

    def __post_init__(self) -> None:
        if not self.root.is_dir():
            raise WrongUseError(f"--root {self.root} is not a folder")

    def rules(self, *, attempts: int | None = None, fallback: int | None = None) -> RunPolicies:
        """The policies of the file, with what was given on the command line in the place of the file's."""
        from orchestai_jax.execution import load_policies, parse_policies

        given = {
            "default": {"retry": {"attempts": attempts}, "timeout_s": self.timeout},
            "fallback_workers": fallback,
            "budget": {"cost": self.budget, "deadline_s": self.deadline},
        }
        fields = _without_none(given)
        return parse_policies(fields, "the options") if self.policies is None else load_policies(self.policies, fields)


def _without_none(fields: dict[str, Any]) -> dict[str, Any]:
    inner = {key: _without_none(value) if isinstance(value, dict) else value for key, value in fields.items()}
    return {key: value for key, value in inner.items() if value is not None and value != {}}
