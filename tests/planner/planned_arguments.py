"""Compares what the rules read from a request over the embedded catalog with what a careful reader would take.

The requests of these tests are made up here; the quickstart's held-out requests are not looked at.
"""

from orchestai_jax.planner.arguments import fill_arguments
from orchestai_jax.quickstart.catalog import load_embedded_catalog
from orchestai_jax.workflow.validation import validate_workflow
from orchestai_jax.workflow.workflow import Reference, Task, Workflow


def chain(n):
    """Edges of a chain of n tasks."""
    return [(i, i + 1) for i in range(n - 1)]


def shown(arguments):
    """Arguments as plain values, a reference as `<t1.image>`."""
    return {k: f"<{v.task}.{v.output}>" if isinstance(v, Reference) else v.value for k, v in arguments.items()}


def workflow(task_types, filled):
    """The workflow that the filled arguments make."""
    return Workflow(
        tasks=tuple(
            Task(
                id=f"t{j + 1}",
                task_type=name,
                arguments=filled.arguments[j],
                depends_on=tuple(f"t{i + 1}" for i, k in sorted(filled.edges) if k == j),
            )
            for j, name in enumerate(task_types)
        )
    )


def check(instruction, task_types, edges, expected):
    """Exactly the expected arguments are filled (edges None: a chain), none is open, and the workflow is valid."""
    catalog = load_embedded_catalog()
    filled = fill_arguments(instruction, task_types, chain(len(task_types)) if edges is None else edges, catalog)
    assert [shown(a) for a in filled.arguments] == expected
    assert validate_workflow(workflow(task_types, filled), catalog) == []
    assert filled.open_arguments == ()


def named(cases):
    """Ids of parametrised cases: how the requests begin."""
    return [case[0][:48] for case in cases]
