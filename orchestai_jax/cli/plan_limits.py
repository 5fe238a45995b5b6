"""What a whole plan may take: `--deadline`, `--budget`, `--least-success` choose the workers of all tasks at once."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated

import typer

from orchestai_jax.cli.errors import WrongUseError

if TYPE_CHECKING:
    from orchestai_jax.workflow import Catalog, Workflow


@dataclasses.dataclass(frozen=True)
class PlanLimits:
    """What was given of them."""

    deadline: Annotated[
        float | None,
        typer.Option("--deadline", metavar="SECONDS", help="Choose the cheapest workers that are done in this time."),
    ] = None
    budget: Annotated[
        float | None,
        typer.Option("--budget", metavar="DOLLARS", help="Choose the fastest workers that cost no more than this."),
    ] = None
    least_success: Annotated[
        float | None,
        typer.Option("--least-success", metavar="P", help="Least probability that all tasks succeed, above 0 to 1."),
    ] = None


def keep_to_limits(workflow: Workflow, catalog: Catalog, given: PlanLimits) -> Workflow:
    """The workflow with the workers that suit the limits best by the catalog's figures, and a note of what to expect.

    Without any limit the workflow comes back as it is. Raises WrongUseError for limits out of range, or that no choice
    of workers meets, and for a task that no worker can do.
    """
    if given == PlanLimits() or not workflow.tasks:
        return workflow
    from orchestai_jax.planner.assignment import Limits, assign_workers, catalog_estimates, with_workers

    minimise = "latency" if given.budget is not None and given.deadline is None else "cost"
    try:
        limits = Limits(deadline=given.deadline, budget=given.budget, least_success=given.least_success)
        found = assign_workers(workflow, catalog_estimates(workflow, catalog), minimise=minimise, limits=limits)
    except ValueError as error:
        raise WrongUseError(f"{error}; change --deadline, --budget or --least-success, or the catalog") from error
    note = (
        f"workers chosen for all tasks together: ${found.cost:.4g}, {found.latency:.4g} s on the critical path, "
        f"success {found.success:.2f}, as the catalog declares them"
    )
    if not found.optimal:
        note += f" (the search was cut short; nothing is under {found.bound:.4g})"
    chosen = with_workers(workflow, found.workers)
    return chosen.model_copy(update={"notes": (*chosen.notes, note)})
