import itertools

import hypothesis
import networkx
import pytest
from hypothesis import strategies as st

from orchestai_jax.workflow import (
    Reference,
    Task,
    Workflow,
    WorkflowError,
    critical_path,
    levels,
    predecessors,
    topological_order,
)
from orchestai_jax.workflow.ordering import find_cycles


def as_networkx(workflow: Workflow) -> networkx.DiGraph:
    graph = networkx.DiGraph()
    graph.add_nodes_from(task.id for task in workflow.tasks)
    graph.add_edges_from((before, task.id) for task in workflow.tasks for before in predecessors(task))
    return graph


@hypothesis.settings(max_examples=25, deadline=None)
@hypothesis.given(data=st.data())
def test_orders_agree_with_networkx(dags, data):
    workflow = data.draw(dags)
    graph = as_networkx(workflow)
    order = topological_order(workflow)
    assert sorted(order) == sorted(t.id for t in workflow.tasks)
    place = {task_id: i for i, task_id in enumerate(order)}
    assert all(place[source] < place[target] for source, target in graph.edges)
    # networkx's lexicographical order with the workflow's positions as keys is the same rule, written by others
    position = {task.id: i for i, task in enumerate(workflow.tasks)}
    assert order == list(networkx.lexicographical_topological_sort(graph, key=position.__getitem__))
    assert [set(level) for level in levels(workflow)] == [set(g) for g in networkx.topological_generations(graph)]


@hypothesis.settings(max_examples=25, deadline=None)
@hypothesis.given(data=st.data())
def test_critical_path_agrees_with_networkx(dags, data):
    workflow = data.draw(dags)
    durations = {task.id: data.draw(st.integers(0, 100)) / 4 for task in workflow.tasks}
    path, length = critical_path(workflow, durations)
    graph = as_networkx(workflow)
    weighted = networkx.DiGraph()  # networkx weighs edges: a task becomes the edge from its start to its end
    for task_id in graph:
        weighted.add_edge((task_id, "start"), (task_id, "end"), weight=durations[task_id])
    weighted.add_edges_from((((s, "end"), (t, "start")) for s, t in graph.edges), weight=0.0)
    assert length == pytest.approx(networkx.dag_longest_path_length(weighted))
    assert length == pytest.approx(sum(durations[t] for t in path))
    assert all(graph.has_edge(s, t) for s, t in itertools.pairwise(path))


@hypothesis.settings(max_examples=100, deadline=None)
@hypothesis.given(rows=st.lists(st.sets(st.integers(0, 7), max_size=4), min_size=8, max_size=8))
def test_cycles_are_found_in_every_component_and_break_all_of_them(rows):
    before = {str(i): tuple(map(str, sorted(row))) for i, row in enumerate(rows)}
    graph = networkx.DiGraph([(b, i) for i, row in before.items() for b in row])
    graph.add_nodes_from(before)
    cycles = find_cycles(before)
    assert all(cycle[0] == cycle[-1] and networkx.is_path(graph, cycle) for cycle in cycles)
    tasks = [task for cycle in cycles for task in cycle[1:]]
    assert len(set(tasks)) == len(tasks)
    for component in networkx.strongly_connected_components(graph):
        assert bool(component & set(tasks)) == (not networkx.is_directed_acyclic_graph(graph.subgraph(component)))
    graph.remove_nodes_from(tasks)
    assert networkx.is_directed_acyclic_graph(graph)


def test_a_sorted_workflow_keeps_its_order(diamond):
    assert topological_order(diamond) == ["make", "small", "words", "pack"]
    assert levels(diamond) == [["make"], ["small", "words"], ["pack"]]


def test_critical_path_of_the_diamond(diamond):
    durations = {"make": 1, "small": 2, "words": 5, "pack": 0.5}
    assert critical_path(diamond, durations) == (["make", "words", "pack"], 6.5)
    assert critical_path(Workflow(), {}) == ([], 0.0)


@pytest.mark.parametrize("duration", [-1.0, float("nan"), float("inf")])
def test_a_duration_must_be_a_time(diamond, duration):
    with pytest.raises(ValueError, match=r"durations\['words'\]"):
        critical_path(diamond, {"make": 1, "small": 2, "words": duration, "pack": 0.5})


def test_a_missing_duration_is_named(diamond):
    with pytest.raises(ValueError, match="'pack'"):
        critical_path(diamond, {"make": 1, "small": 2, "words": 1})


def test_a_reference_orders_even_where_depends_on_is_silent():
    first = Task(id="b", task_type="x", arguments={"in": Reference(task="a", output="out")})
    assert topological_order(Workflow(tasks=(first, Task(id="a", task_type="x")))) == ["a", "b"]


@pytest.mark.parametrize(
    ("tasks", "code"),
    [
        ([("a", ("b",)), ("b", ("a",))], "cycle"),
        ([("a", ("a",))], "cycle"),
        ([("a", ()), ("a", ())], "duplicate_task"),
        ([("a", ("ghost",))], "unknown_dependency"),
    ],
)
@pytest.mark.parametrize("function", [topological_order, levels, lambda w: critical_path(w, {"a": 1, "b": 1})])
def test_what_is_no_dag_has_no_order(tasks, code, function):
    workflow = Workflow(tasks=tuple(Task(id=i, task_type="x", depends_on=before) for i, before in tasks))
    with pytest.raises(WorkflowError) as caught:
        function(workflow)
    assert [fault.code for fault in caught.value.faults] == [code]


def test_ten_thousand_tasks_in_a_row():
    ids = [str(i) for i in range(10_000)]
    tasks = [Task(id=i, task_type="x", depends_on=(b,)) for b, i in itertools.pairwise(ids)]
    workflow = Workflow(tasks=(Task(id="0", task_type="x"), *tasks))
    assert topological_order(workflow) == ids
    assert critical_path(workflow, dict.fromkeys(ids, 1.0))[1] == 10_000


def test_ten_thousand_tasks_in_rings():
    n = 10_000
    assert len(find_cycles({str(i): (str((i + 1) % n), "0") for i in range(n)})) == 1
    assert len(find_cycles({str(i): (str(i ^ 1),) for i in range(n)})) == n // 2
