"""The embedded catalog: enough task types, told apart by their words, with defaults that run."""

import collections

from orchestai_jax.quickstart import load_embedded_catalog
from orchestai_jax.workers import check_arguments
from orchestai_jax.workflow import load_catalog, save_catalog

CATALOG = load_embedded_catalog()


def test_there_is_enough_to_choose_from():
    assert len(CATALOG.task_types) >= 26
    choices = collections.Counter(t for worker in CATALOG.workers for t in worker.task_types)
    assert set(choices) == {task_type.id for task_type in CATALOG.task_types}, "every task type has a worker"
    assert sum(count >= 3 for count in choices.values()) >= 8


def test_names_are_unique_and_resolve():
    for names in (
        [task_type.id for task_type in CATALOG.task_types],
        [task_type.description for task_type in CATALOG.task_types],
        [worker.id for worker in CATALOG.workers],
        [(link.source, link.target) for link in CATALOG.links],
    ):
        assert len(set(names)) == len(names)
    for link in CATALOG.links:
        assert CATALOG.fits(link.source, link.target), f"{link.source} gives nothing that {link.target} takes"


def test_descriptions_are_sentences():
    for task_type in CATALOG.task_types:
        assert task_type.description.endswith(".")
        assert 4 <= len(task_type.description.split()) <= 20
        for part in (*task_type.inputs, *task_type.outputs, *task_type.parameters):
            assert part.description, f"{task_type.id}.{part.name}"


def test_types_are_those_of_the_house_and_arguments_do_not_clash():
    types = {"text", "image", "audio", "table", "document", "file", "json"}
    for task_type in CATALOG.task_types:
        assert {port.type for port in (*task_type.inputs, *task_type.outputs)} <= types
        names = [part.name for part in (*task_type.inputs, *task_type.parameters)]
        assert len(set(names)) == len(names)


def test_defaults_are_valid_and_almost_everything_has_one():
    required = {}
    for task_type in CATALOG.task_types:
        needed = {p.name: "x" for p in task_type.parameters if p.required}
        required |= {task_type.id: set(needed)} if needed else {}
        checked = check_arguments(task_type, {port.name: "f" for port in task_type.inputs} | needed)
        for parameter in task_type.parameters:
            if not parameter.required:
                assert checked[parameter.name] == parameter.default
    assert required == {
        "filter_table": {"column", "value"},
        "select_columns": {"columns"},
        "replace_text": {"find"},
    }


def test_workers_of_one_task_type_declare_different_figures():
    for task_type in CATALOG.task_types:
        workers = CATALOG.workers_for(task_type.id)
        assert all(worker.cost > 0 and worker.latency > 0 for worker in workers)
        figures = {(worker.cost, worker.latency, worker.quality) for worker in workers}
        assert len(figures) == len(workers), task_type.id


def test_saved_and_loaded_it_is_the_same(tmp_path):
    save_catalog(CATALOG, tmp_path / "catalog.yaml")
    assert load_catalog(tmp_path / "catalog.yaml") == CATALOG
