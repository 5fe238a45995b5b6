"""The script on new tools: who is left out of training, the nearest descriptions, and (slow) the whole of it."""

import json

import new_tools as script
import numpy as np
import pytest

from orchestai_jax.data import PlanningSample
from orchestai_jax.workflow import Catalog, TaskType

NAMES = ("alpha", "beta", "gamma")
CATALOG = Catalog(task_types=tuple(TaskType(id=name) for name in NAMES))


def test_a_field_left_out_is_in_no_training_sample(public_data):
    protocol = script.domain_left_out(public_data("sealtools/dev.jsonl").parents[1], quick=True)
    own = set(protocol.catalog.index)
    assert own
    assert protocol.train
    assert not own & set(protocol.training_catalog.index)
    assert not any(s.nodes & own for s in (*protocol.train, *protocol.validation))
    assert all(s.nodes <= own for s in protocol.test)
    assert not {s.id for s in protocol.train} & {s.id for s in protocol.validation}


def test_nearest_descriptions_are_as_many_as_the_gold_plan_has(monkeypatch, tmp_path):
    vectors = {"alpha": (1, 0, 0), "beta": (0, 1, 0), "gamma": (0, 0, 1)}

    def embedded(texts, cache=None):
        return np.array([np.sum([vectors[w] for w in t.split() if w in vectors], axis=0) + 1e-6 for t in texts])

    monkeypatch.setattr(script, "embed_texts", embedded)
    test = [PlanningSample("1", "alpha beta", ("alpha", "beta")), PlanningSample("2", "gamma", ("alpha",))]
    got = script.nearest_descriptions(script.Protocol("toy", CATALOG, [], [], CATALOG, test), tmp_path)
    assert got["each"].tolist() == [1, 0]
    assert got["node_f1"] == 0.5
    assert got["recall_at_10"] == 1


def test_figures_are_told_by_what_training_knew():
    groups = {"seen": [0, 1], "mixed": [], "unseen": [2]}
    got = script.figures(np.array([1.0, 0.5, 0.0]), groups)
    assert got["node_f1"] == pytest.approx(0.5)
    assert got["node_f1_of"] == {"seen": 0.75, "unseen": 0.0}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_whole_script_on_few_samples(public_data, tmp_path, monkeypatch):
    from orchestai_jax.planner.pretrained import EncoderNotFoundError, find_pretrained

    monkeypatch.setenv("ORCHESTAI_DATA", str(public_data("sealtools/dev.jsonl").parents[1]))
    try:
        find_pretrained("minilm", allow_download=False)
    except EncoderNotFoundError as error:
        pytest.skip(f"the baseline needs MiniLM: {error}")
    given = ["--quick", "--seeds", "0", "--protocols", "domain", "--workdir", str(tmp_path), "--results", str(tmp_path)]
    got = script.main(given)
    written = json.loads((tmp_path / "new_tools.json").read_text())
    assert written["quick"]
    found = written["protocols"]["domain"]
    assert found["n"]["known_task_types"] == 0
    assert 0 < found["n"]["test"] <= 20  # Seal-Tools has 11 samples within its largest field
    assert 0 <= found["node_f1"] <= 1
    assert got["protocols"]["domain"]["node_f1"] == found["node_f1"]
    assert found["nearest_description_count_given"]["recall_at_100"] > 0.5
