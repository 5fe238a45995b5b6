"""`orchestai plan`: an instruction into a workflow."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from typing import TYPE_CHECKING, Annotated

import typer

from orchestai_jax.cli.errors import WrongUseError
from orchestai_jax.cli.hybrid_options import HybridOptions
from orchestai_jax.cli.option_groups import takes_groups
from orchestai_jax.cli.plan_limits import PlanLimits, keep_to_limits
from orchestai_jax.cli.planning_inputs import (
    PLANNER,
    JsonOption,
    PlanningOptions,
    open_planner,
    prove_writable,
    read_instruction,
)
from orchestai_jax.cli.selection_options import SelectionOptions

if TYPE_CHECKING:
    from orchestai_jax.config import Preference
    from orchestai_jax.planner import Planner
    from orchestai_jax.planner.attribution import Explanation
    from orchestai_jax.workflow import Catalog, Workflow


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    app.command(name="plan", short_help="Plan an instruction.")(takes_groups(plan))


def plan(
    *,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="The instruction; - reads it from stdin.")],
    planner: Annotated[pathlib.Path, PLANNER],
    over: PlanningOptions,
    limits: PlanLimits,
    hybrid: HybridOptions,
    selecting: SelectionOptions,
    as_json: JsonOption = False,
    mermaid: Annotated[bool, typer.Option("--mermaid", help="Print a Mermaid flowchart.")] = False,
    svg: Annotated[pathlib.Path | None, typer.Option("--svg", metavar="OUT", help="Write a drawing to OUT.")] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show which words spoke for each task, edge and argument.")
    ] = False,
    explain_html: Annotated[
        pathlib.Path | None, typer.Option("--explain-html", metavar="OUT", help="Write the same as an HTML page.")
    ] = None,
) -> None:
    """Plan an instruction: its tasks, their order, a worker and arguments for each.

    \b
    Examples:
      orchestai plan "summarize notes.txt and list its keywords" --planner runs/quickstart/planner
      orchestai plan "make photo.png gray" --planner runs/quickstart/planner --prefer fast --json > plan.json
      orchestai plan "blur photo.png, find its palette" --planner runs/quickstart/planner --deadline 2
      orchestai plan "blur photo.png, find its palette" --planner PLANNER --candidates 8 --path-threshold 0.5
      orchestai plan "tidy up photo.png" --planner PLANNER --llm http://127.0.0.1:8080/v1 --llm-model qwen3
      orchestai plan "blur photo.png, find its palette" --planner PLANNER --explain --explain-html why.html
      echo "convert song.wav" | orchestai plan - --planner runs/quickstart/planner --svg plan.svg
    """
    if as_json + mermaid + (svg is not None) > 1:
        raise WrongUseError("--json, --mermaid and --svg exclude one another; give one")
    if hybrid.wanted and (explain or explain_html is not None):
        raise WrongUseError(
            "--explain tells why the learned planner planned so; leave --llm and --hybrid-threshold out"
        )
    if selecting.given and (hybrid.wanted or explain or explain_html is not None):
        raise WrongUseError("--candidates and --path-threshold are for a plan without --llm and --explain")
    if explain_html is not None:
        prove_writable(explain_html, "--explain-html")
    instruction, preference = read_instruction(text), over.read_preference()
    chosen = over.read_catalog()
    opened = open_planner(planner)
    explanation = None
    if explain or explain_html is not None:
        explanation = opened.explain(instruction, catalog=chosen, preference=preference)
        workflow = explanation.workflow
    elif hybrid.wanted:
        workflow = hybrid.plan(opened, instruction, chosen, preference).workflow
    elif selecting.given or opened.serving is not None:
        workflow = _selected(opened, instruction, chosen, preference, selecting)
    else:
        workflow = opened.plan(instruction, catalog=chosen, preference=preference)
    planned_over = chosen if chosen is not None else opened.catalog
    workflow = keep_to_limits(workflow, planned_over, limits)
    if explanation is not None:
        explanation = dataclasses.replace(explanation, workflow=workflow)
    if explanation is not None and explain_html is not None:
        from orchestai_jax.cli.explanation import explanation_html

        explain_html.write_text(explanation_html(explanation), encoding="utf-8")
        typer.echo(f"wrote {explain_html}", err=True)
    if as_json and explanation is not None and explain:
        import json

        from orchestai_jax.cli.explanation import explanation_json

        plan_fields = workflow.model_dump(mode="python")
        typer.echo(json.dumps({"workflow": plan_fields, "explanation": explanation_json(explanation)}, indent=2))
    elif as_json:
        typer.echo(workflow_json(workflow))
    elif mermaid:
        from orchestai_jax.workflow import to_mermaid

        typer.echo(to_mermaid(workflow, planned_over).rstrip())
    elif svg is not None:
        from orchestai_jax.workflow import to_svg

        svg.write_text(to_svg(workflow, planned_over), encoding="utf-8")
        typer.echo(f"wrote {svg}")
    else:
        print_plan(workflow, explanation if explain else None)


def _selected(
    planner: Planner,
    instruction: str,
    catalog: Catalog | None,
    preference: Preference | None,
    selecting: SelectionOptions,
) -> Workflow:
    """The plan that the verifier's rewards speak for, with a note where it is another than the planner's first."""
    from orchestai_jax.cli.selection_options import told
    from orchestai_jax.optimization.candidates import select_plan

    number, threshold = selecting.over(planner.serving)
    selection = select_plan(
        planner,
        instruction,
        candidates=number,
        threshold=threshold,
        catalog=catalog,
        preference=preference,
    )
    if not selection.replaced:
        return selection.chosen
    note = f"candidate {selection.index + 1} of {len(selection.rewards)}: {told(selection)}"
    return selection.chosen.model_copy(update={"notes": (*selection.chosen.notes, note)})


def workflow_json(workflow: Workflow) -> str:
    """A workflow as the JSON that `orchestai run --workflow` reads."""
    import json

    return json.dumps(workflow.model_dump(mode="python"), indent=2)


def print_plan(workflow: Workflow, explanation: Explanation | None = None) -> None:
    """Print a plan as a tree with workers, arguments, confidence and notes, and the words that spoke for its parts."""
    from rich.text import Text

    from orchestai_jax.cli.console import open_console
    from orchestai_jax.cli.task_tree import argument_lines, task_name, task_tree
    from orchestai_jax.workflow import Task

    def label(task: Task) -> Text:
        line = task_name(task)
        if task.confidence is not None:
            line.append(f"  {task.confidence:.0%}", style="dim")
        return line

    details = argument_lines
    if explanation is not None and explanation.words:
        from orchestai_jax.cli.explanation import explained_lines

        details = functools.partial(explained_lines, explanation)
    open_console().print(task_tree(workflow, label, details))
