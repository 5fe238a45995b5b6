import hypothesis
import pytest
from hypothesis import strategies as st

from orchestai_jax.workflow import (
    Catalog,
    Parameter,
    Port,
    Reference,
    Task,
    TaskType,
    Value,
    Workflow,
    WorkflowError,
    check_workflow,
    may_fill,
    predecessors,
    validate_workflow,
)


def changed(workflow: Workflow, task_id: str, **update) -> Workflow:
    return workflow.model_copy(
        update={"tasks": tuple(t.model_copy(update=update) if t.id == task_id else t for t in workflow.tasks)}
    )


def with_argument(workflow: Workflow, task_id: str, name: str, argument) -> Workflow:
    return changed(workflow, task_id, arguments={**workflow.task(task_id).arguments, name: argument})


def codes(workflow, catalog, **options):
    return [(fault.code, fault.task) for fault in validate_workflow(workflow, catalog, **options)]


def test_a_right_workflow_has_no_fault(diamond, catalog):
    assert validate_workflow(diamond, catalog) == []
    check_workflow(diamond, catalog)


def test_an_empty_workflow_has_no_fault(catalog):
    assert validate_workflow(Workflow(), catalog) == []
    assert validate_workflow(Workflow(), Catalog()) == []


BREAKS = {
    "cycle": (lambda w: changed(w, "make", depends_on=("pack",)), None),
    "unknown_task_type": (lambda w: changed(w, "make", task_type="paint", worker=None), "make"),
    "type_mismatch": (lambda w: with_argument(w, "pack", "first", Reference(task="words", output="text")), "pack"),
    "dangling_reference": (lambda w: with_argument(w, "pack", "first", Reference(task="small", output="x")), "pack"),
    "duplicate_task": (lambda w: w.model_copy(update={"tasks": (*w.tasks, w.tasks[0])}), "make"),
    "duplicate_dependency": (lambda w: changed(w, "words", depends_on=("make", "make")), "words"),
    "unknown_worker": (lambda w: changed(w, "words", worker="nobody"), "words"),
    "worker_cannot_do_task": (lambda w: changed(w, "words", worker="zip"), "words"),
    "unknown_dependency": (lambda w: changed(w, "words", depends_on=("make", "ghost")), "words"),
    "self_dependency": (lambda w: changed(w, "words", depends_on=("make", "words")), "words"),
    "missing_argument": (lambda w: changed(w, "words", arguments={}), "words"),
    "bad_argument": (lambda w: with_argument(w, "small", "width", Value(value="eighty")), "small"),
    "reference_without_dependency": (lambda w: changed(w, "words", depends_on=()), "words"),
}


@pytest.mark.parametrize("code", BREAKS)
def test_each_fault_is_found_alone(diamond, catalog, code):
    break_it, task = BREAKS[code]
    found = codes(break_it(diamond), catalog)
    assert [c for c, _ in found] == [code]
    assert task is None or found[0][1] == task


def test_all_faults_are_listed_at_once(diamond, catalog):
    for code in ("unknown_worker", "bad_argument", "unknown_dependency"):
        diamond = BREAKS[code][0](diamond)
    diamond = changed(diamond, "make", depends_on=("pack",))
    found = [c for c, _ in codes(diamond, catalog)]
    assert found == ["bad_argument", "unknown_dependency", "unknown_worker", "cycle"]
    with pytest.raises(WorkflowError) as caught:
        check_workflow(diamond, catalog)
    assert [f.code for f in caught.value.faults] == found
    assert "\n" not in str(caught.value)
    assert all(code in str(caught.value) for code in found)


def test_a_reference_to_no_task_and_to_itself(diamond, catalog):
    ghost = with_argument(diamond, "words", "image", Reference(task="ghost", output="image"))
    assert codes(ghost, catalog) == [("dangling_reference", "words")]
    own = with_argument(diamond, "small", "image", Reference(task="small", output="image"))
    assert codes(own, catalog) == [("self_dependency", "small")]


def test_a_cycle_through_references_only(catalog):
    one = Task(id="1", task_type="archive", arguments={"first": Reference(task="2", output="file")})
    two = Task(id="2", task_type="archive", arguments={"first": Reference(task="1", output="file")})
    assert "cycle" in [c for c, _ in codes(Workflow(tasks=(one, two)), catalog)]


def test_every_cycle_is_named(catalog):
    pairs = [("a", "b"), ("b", "a"), ("c", "d"), ("d", "e"), ("e", "c"), ("f", "a"), ("f", "c")]
    tasks = [Task(id=i, task_type="make_image", depends_on=tuple(b for t, b in pairs if t == i)) for i in "abcdef"]
    faults = validate_workflow(Workflow(tasks=tuple(tasks)), catalog)
    assert [fault.code for fault in faults] == ["cycle", "cycle"]
    assert "'a' -> 'b' -> 'a' form a cycle of 2" in faults[0].message
    assert "'c' -> 'e' -> 'd' -> 'c' form a cycle of 3" in faults[1].message


def test_arguments_may_be_left_open(diamond, catalog):
    bare = diamond.model_copy(update={"tasks": tuple(t.model_copy(update={"arguments": {}}) for t in diamond.tasks)})
    assert codes(bare, catalog, require_arguments=False) == []
    missing = validate_workflow(bare, catalog)
    assert [(f.code, f.task) for f in missing] == [
        ("missing_argument", "small"),
        ("missing_argument", "small"),
        ("missing_argument", "words"),
        ("missing_argument", "pack"),
    ]
    # "filter" is required but has a default; "second" is optional
    assert not any("filter" in f.message or "second" in f.message for f in missing)


@pytest.mark.parametrize(
    ("name", "value", "right"),
    [
        ("width", 80, True),
        ("width", 80.0, True),
        ("width", 80.5, False),
        ("width", True, False),
        ("width", "80", False),
        ("width", None, False),
        ("width", float("nan"), False),
        ("width", float("inf"), False),
        ("filter", "box", True),
        ("filter", "cubic", False),
        ("filter", ["box"], False),
        ("filter", None, True),
        ("sharpen", False, True),
        ("sharpen", 0, False),
        ("sharpen", None, True),
        ("factor", 1, True),
        ("factor", 1.5, True),
        ("factor", {"x": 1}, False),
        ("image", "a.png", True),
        ("image", 3, False),
        ("depth", 3, False),
    ],
)
def test_literals_are_checked(diamond, catalog, name, value, right):
    found = codes(with_argument(diamond, "small", name, Value(value=value)), catalog)
    assert found == ([] if right else [("bad_argument", "small")])


def test_true_is_not_one_in_an_enum():
    catalog = Catalog(task_types=(TaskType(id="a", parameters=(Parameter(name="p", enum=(1, "x")),)),))
    task = Task(id="1", task_type="a", arguments={"p": Value(value=True)})
    assert codes(Workflow(tasks=(task,)), catalog) == [("bad_argument", "1")]


@pytest.mark.parametrize(
    ("produced", "slot", "right"),
    [
        ("image", Port(name="x", type="file"), True),
        ("file", Port(name="x", type="image"), False),
        ("image", Port(name="x", type="audio"), False),
        ("any", Port(name="x", type="audio"), True),
        ("audio", Port(name="x"), True),
        ("own", Port(name="x", type="own"), True),
        ("own", Port(name="x", type="file"), False),
        ("number", Parameter(name="x", type="integer"), True),
        ("text", Parameter(name="x", type="integer"), False),
        ("table", Parameter(name="x", type="path"), True),
        ("json", Parameter(name="x", type="object"), True),
        ("number", Parameter(name="x", type="boolean"), False),
        ("any", Parameter(name="x", type="boolean"), True),
        ("own", Parameter(name="x"), True),
    ],
)
def test_which_outputs_fill_which_slots(produced, slot, right):
    assert may_fill(produced, slot) is right


@hypothesis.settings(max_examples=20, deadline=None)
@hypothesis.given(data=st.data())
def test_an_injected_cycle_is_always_found(dags, data):
    workflow = data.draw(dags.filter(lambda w: any(predecessors(t) for t in w.tasks)))
    ancestors: dict[str, set[str]] = {}
    by_id = {t.id: t for t in workflow.tasks}

    def above(task_id: str) -> set[str]:
        if task_id not in ancestors:
            ancestors[task_id] = set().union(*({b, *above(b)} for b in predecessors(by_id[task_id])))
        return ancestors[task_id]

    assert "cycle" not in [f.code for f in validate_workflow(workflow, Catalog())]
    late = data.draw(st.sampled_from(sorted(i for i in by_id if above(i))))
    early = data.draw(st.sampled_from(sorted(above(late))))
    broken = changed(workflow, early, depends_on=(*by_id[early].depends_on, late))
    (fault,) = [f for f in validate_workflow(broken, Catalog()) if f.code == "cycle"]
    assert "->" in fault.message


@hypothesis.settings(max_examples=20, deadline=None)
@hypothesis.given(data=st.data())
def test_any_workflow_can_be_validated(dags, catalog_of_anything, data):
    """Whatever the ids, arguments and literals: a list of faults, each with a one-line message."""
    for fault in validate_workflow(data.draw(dags), catalog_of_anything):
        assert "\n" not in fault.message.replace("\r", "\n").replace("\x85", "\n")


@pytest.fixture(scope="module")
def catalog_of_anything():
    return Catalog(task_types=(TaskType(id="0", parameters=(Parameter(name="r0", enum=("a", 1)),)),))


def test_ten_thousand_tasks_with_a_fault_each(catalog):
    tasks = [Task(id=str(i), task_type="ghost", depends_on=(str(i - 1),) if i else ()) for i in range(10_000)]
    assert len(validate_workflow(Workflow(tasks=tuple(tasks)), catalog)) == 10_000
