"""The script on the task-type graph: what is left out, where links are from, paired differences; (slow) all of it."""

import json
import types

import numpy as np
import pytest
import task_type_graph as script

from orchestai_jax.data import PlanningSample, load_samples
from orchestai_jax.workflow import Catalog, Link, TaskType


def test_what_is_left_out_is_in_no_training_sample_and_has_links(public_data):
    folder = public_data("ultratool/train.jsonl").parent
    setting = script.left_out(folder, quick=True)
    assert 0.1 < len(setting.new) / len(setting.catalog.task_types) < 0.3
    assert setting.train
    assert not any(s.nodes & setting.new for s in (*setting.train, *setting.validation))
    assert not {s.id for s in setting.train} & {s.id for s in setting.validation}
    assert any(link.target in setting.new for link in setting.catalog.links)
    samples = load_samples(folder / "train.jsonl", "taskbench", setting.catalog)
    declared = {(link.source, link.target) for link in setting.catalog.links}
    assert declared <= {(s.task_types[i], s.task_types[j]) for s in samples for i, j in s.dependencies}
    rows = setting.rows
    assert sorted(rows["new"] + rows["known"]) == list(range(len(setting.test)))
    assert all(setting.test[i].nodes & setting.new for i in rows["new"])


def test_links_are_the_samples_dependencies_and_nothing_else():
    catalog = Catalog(
        task_types=tuple(TaskType(id=n) for n in "abc"), links=(Link(source="a", target="c"),)
    )  # what it declares itself goes
    samples = [
        PlanningSample("1", "text", ("b", "a", "b"), ((0, 1), (0, 2))),
        PlanningSample("2", "text", ("b", "a"), ((0, 1),)),
    ]
    assert script.with_links(catalog, samples).links == (Link(source="b", target="a"),)


def test_gains_are_paired_by_sample():
    random = np.random.default_rng(0)
    base = random.uniform(0, 0.8, (2, 40))

    def arm(more):
        return [types.SimpleNamespace(**dict.fromkeys(script.FIGURES, values + more)) for values in base]

    rows = {"new": list(range(10)), "known": list(range(10, 40))}
    scores = {"none": arm(0.0), "sage": arm(np.where(np.arange(40) < 10, 0.1, 0.0))}
    found = script.gains(scores, rows)
    assert set(found) == {"sage"}
    new, known = found["sage"]["new"]["node_f1"], found["sage"]["known"]["node_f1"]
    assert new["mean"] == pytest.approx(0.1)
    assert new["interval"] == pytest.approx([0.1, 0.1])  # the samples' own spread is not in it
    assert known["mean"] == 0
    own = script.figures(scores["none"], rows)["new"]["node_f1"]
    assert own["seeds"] == pytest.approx(base[:, :10].mean(axis=1).tolist())
    assert own["interval"][0] < own["mean"] < own["interval"][1]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_whole_script_on_few_samples(public_data, tmp_path, monkeypatch):
    monkeypatch.setenv("ORCHESTAI_DATA", str(public_data("ultratool/train.jsonl").parents[1]))
    given = ["--quick", "--seeds", "0", "--workdir", str(tmp_path), "--results", str(tmp_path)]
    got = script.main(given)
    written = json.loads((tmp_path / "task_type_graph.json").read_text())
    assert written["quick"]
    assert set(written["arms"]) == {"none", "sage"}
    assert 0 <= written["arms"]["sage"]["new"]["node_f1"]["mean"] <= 1
    assert got["gain_over_none"] == written["gain_over_none"]
    catalog = json.loads((tmp_path / "sage" / "catalog.json").read_text())
    assert len(catalog["links"]) == written["n"]["links"] > 0
