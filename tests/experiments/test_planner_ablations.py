"""The script that takes parts from the planner: what is renamed, what is compared, and (slow) the whole of it."""

import json

import numpy as np
import planner_ablations as script
import pytest

from orchestai_jax.data import PlanningSample
from orchestai_jax.workflow import Catalog, TaskType


def test_without_descriptions_nothing_says_what_a_task_type_is():
    sample = PlanningSample(
        "1", "book a room", ("find_room", "book_room"), ((0, 1),), step_texts=("Step 1 Call find_room to look", "2. go")
    )
    got = script.renamed(sample, {"find_room": "t0", "book_room": "t1"})
    assert got.task_types == ("t0", "t1")
    assert got.step_texts == ("look", "go")
    assert (got.instruction, got.dependencies) == (sample.instruction, sample.dependencies)


def test_samples_and_catalog_are_written_where_the_configuration_says(tmp_path):
    from orchestai_jax.training.training_samples import TrainingSamples, load_training_samples

    catalog = Catalog(task_types=(TaskType(id="t0"), TaskType(id="t1")))
    samples = TrainingSamples(catalog, [PlanningSample("1", "x", ("t0",))], [PlanningSample("2", "y", ("t1",))])
    options = script.parse(["--quick"])
    found = load_training_samples(script.over_files(script.configuration(options), catalog, samples, tmp_path))
    assert [s.id for s in found.train] == ["1"]
    assert [s.id for s in found.validation] == ["2"]
    assert [t.id for t in found.catalog.task_types] == ["t0", "t1"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_whole_script_on_few_samples(public_data, tmp_path, monkeypatch):
    monkeypatch.setenv("ORCHESTAI_DATA", str(public_data("ultratool/train.jsonl").parents[1]))
    got = script.main(["--quick", "--workdir", str(tmp_path)])
    assert json.loads((tmp_path / "planner_ablations.json").read_text()) == got
    assert list(got["rows"]) == [script.WHOLE, *script.DECODED, *script.TRAINED]
    own = got["rows"][script.WHOLE]["node_f1"]["mean"]
    for row, found in got["rows"].items():
        assert np.isfinite(found["node_f1"]["mean"])
        if row != script.WHOLE:
            assert found["node_f1"]["less_the_whole"] == pytest.approx(found["node_f1"]["mean"] - own)
