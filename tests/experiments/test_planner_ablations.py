"""The script that takes parts from the planner: what is renamed, what is compared, and (slow) the whole of it."""

import json

import numpy as np
import planner_ablations as script
import pytest

from orchestai_jax.data import PlanningSample


def test_without_descriptions_nothing_says_what_a_task_type_is():
    sample = PlanningSample(
        "1", "book a room", ("find_room", "book_room"), ((0, 1),), step_texts=("Step 1 Call find_room to look", "2. go")
    )
    got = script.renamed(sample, {"find_room": "t0", "book_room": "t1"})
    assert got.task_types == ("t0", "t1")
    assert got.step_texts == ("look", "go")
    assert (got.instruction, got.dependencies) == (sample.instruction, sample.dependencies)


def test_a_quick_run_leaves_the_ternary_encoder_to_its_own_script():
    assert script.WITH_TERNARY in script.parse([]).rows
    assert script.WITH_TERNARY not in script.parse(["--quick"]).rows
    with pytest.raises(ValueError, match=r"ternary_encoder\.py --quick"):
        script.parse(["--quick", "--rows", script.WITH_TERNARY])


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_whole_script_on_few_samples(public_data, tmp_path, monkeypatch):
    monkeypatch.setenv("ORCHESTAI_DATA", str(public_data("ultratool/train.jsonl").parents[1]))
    got = script.main(["--quick", "--workdir", str(tmp_path)])
    assert json.loads((tmp_path / "planner_ablations.json").read_text()) == got
    assert list(got["rows"]) == [script.WHOLE, *script.parse(["--quick"]).rows]
    own = got["rows"][script.WHOLE]["node_f1"]["mean"]
    for row, found in got["rows"].items():
        assert np.isfinite(found["node_f1"]["mean"])
        if row != script.WHOLE:
            assert found["node_f1"]["less_the_whole"] == pytest.approx(found["node_f1"]["mean"] - own)
