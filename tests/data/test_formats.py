"""Reading any format: against a catalog, unknown formats, the public sets."""

import pytest

from orchestai_jax.data import DataError, load_samples
from orchestai_jax.workflow import Catalog, TaskType

TWO = [
    {"id": str(i), "user_request": "do it", "task_nodes": [{"task": name} for name in names], "task_links": []}
    for i, names in ((1, "ab"), (2, "az"))
]


def test_unknown_task_types_are_named_against_a_catalog(write_lines):
    path = write_lines(*TWO)
    catalog = Catalog(name="mine", task_types=(TaskType(id="a"),))
    with pytest.raises(
        DataError, match=r"2 task types are not in the catalog `mine`: `b` \(sample 1\), `z` \(sample 2\)"
    ):
        load_samples(path, "taskbench", catalog)


def test_unknown_task_types_can_be_missed_in_scoring_but_not_all_of_them(write_lines, caplog):
    path = write_lines(*TWO)
    some = Catalog(name="mine", task_types=(TaskType(id="a"),))
    assert len(load_samples(path, "taskbench", some, allow_unknown=True)) == 2
    assert "`z` (sample 2); they cannot be planned and count as missed" in caplog.text
    with pytest.raises(DataError, match="give the catalog that the data was made with"):
        load_samples(path, "taskbench", Catalog(task_types=(TaskType(id="other"),)), allow_unknown=True)


def test_an_unknown_format_is_refused_with_the_known_ones():
    with pytest.raises(DataError, match="unknown data format `csv`; one of taskbench, sealtools"):
        load_samples("x", "csv")


@pytest.mark.parametrize(
    ("name", "format", "samples", "tasks", "dependencies"),
    [
        ("ultratool/train.jsonl", "taskbench", 3026, 7371, 4345),
        ("ultratool/test.jsonl", "taskbench", 213, 499, 286),
        ("sealtools/dev.jsonl", "sealtools", 700, 1804, 34),
        ("sealtools/test_in_domain.jsonl", "sealtools", 700, 1795, 38),
        ("nestful/glaive-data.json", "nestful", 169, 469, 185),
        ("nestful/sgd-data.json", "nestful", 46, 98, 52),
    ],
)
def test_public_sets_are_read_whole(public_data, name, format, samples, tasks, dependencies):
    loaded = load_samples(public_data(name), format)
    assert len(loaded) == samples == len({sample.id for sample in loaded})
    assert sum(len(sample.task_types) for sample in loaded) == tasks
    assert sum(len(sample.dependencies) for sample in loaded) == dependencies
    assert all(source < target for sample in loaded for source, target in sample.dependencies)


def test_a_public_set_without_gold_plans_is_refused(public_data):
    with pytest.raises(DataError, match=r"huggingface_shape\.jsonl:1: field `task_nodes`: missing"):
        load_samples(public_data("taskbench/huggingface_shape.jsonl"), "taskbench")
