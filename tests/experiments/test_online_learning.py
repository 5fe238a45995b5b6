"""The script on online learning: its records are what the planner learns, and (slow) the whole of it on few samples."""

import json

import online_learning as script
import pytest

from orchestai_jax.data import PlanningSample, load_samples
from orchestai_jax.workflow import append_record


def test_records_are_read_as_the_samples_they_were_made_of(tmp_path):
    samples = [
        PlanningSample("1", "do a, then b and c", ("a", "b", "c"), ((0, 1), (0, 2))),
        PlanningSample("2", "b", ("b",)),
    ]
    for sample in samples:
        append_record(tmp_path / "records.jsonl", script.as_record(sample))
    read = load_samples(tmp_path / "records.jsonl", "records")
    assert [(s.id, s.instruction, s.task_types, set(s.dependencies)) for s in read] == [
        (s.id, s.instruction, s.task_types, set(s.dependencies)) for s in samples
    ]
    assert all(s.rewards["success"] == 1 for s in read)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_whole_script_on_few_samples(public_data, tmp_path, monkeypatch):
    monkeypatch.setenv("ORCHESTAI_DATA", str(public_data("ultratool/train.jsonl").parents[1]))
    got = script.main(["--quick", "--records", "20", "--workdir", str(tmp_path)])
    written = json.loads((tmp_path / "online_learning.json").read_text())
    assert written["n"]["records"] == 20
    assert written["scores"].keys() == {"old validation", "new tools"}
    assert written["update"]["steps"] > 0
    assert got["asked_for"]["lost_at_most"]["found"]["node_f1"] == pytest.approx(
        -written["scores"]["old validation"]["gain"]["node_f1"]["mean"]
    )
