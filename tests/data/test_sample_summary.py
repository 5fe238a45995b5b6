"""The summary of a set of samples: its counts and its complaints."""

import json

from orchestai_jax.data import PlanningSample, summarize
from orchestai_jax.workflow import Catalog, TaskType

SAMPLES = [
    PlanningSample("1", "one", ("a",)),
    PlanningSample("2", "two words", ("a", "b"), ((0, 1),), workers=("w", None)),
    PlanningSample("3", "Two  Words", ("a", "b", "b"), ((0, 1), (2, 0))),
    PlanningSample("3", " ", ()),
]


def test_counts():
    summary = summarize(SAMPLES)
    assert (summary.samples, summary.tasks, summary.task_types, summary.dependencies) == (4, 6, 2, 3)
    assert summary.tasks_per_sample == {0: 1, 1: 1, 2: 1, 3: 1}
    assert summary.shapes == {"node": 1, "chain": 2, "empty": 1}
    assert summary.characters["max"] == 10
    assert list(summary.frequencies.items()) == [("a", 3), ("b", 3)]
    assert summary.with_fields == {"workers": 1}
    assert json.loads(json.dumps(summary.to_json()))["samples"] == 4


def test_problems_are_named_with_examples():
    catalog = Catalog(task_types=tuple(TaskType(id=i) for i in "abc"))
    assert summarize(SAMPLES, catalog).problems == (
        "1 samples have a blank instruction (3)",
        "1 samples have no tasks (3)",
        "1 samples hold a task type more than once (3)",
        "1 samples have a dependency on a later task (3)",
        "1 ids occur more than once (3)",
        "1 instructions occur more than once (2)",
        "1 instructions occur with different plans (2)",
        "1 task types of the catalog occur in no sample (c)",
    )
    assert summarize(SAMPLES[:2]).problems == ()


def test_parallel_tasks_are_no_chain():
    assert summarize([PlanningSample("p", "x", ("a", "b"))]).shapes == {"dag": 1}
