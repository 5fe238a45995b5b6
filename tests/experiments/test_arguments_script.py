"""The arguments script: its splits, its groups, its table; and the whole of it on a few samples."""

import io
import json

import arguments
import pytest
from edges import EdgeData
from rich.console import Console

from orchestai_jax.data import PlanningSample
from orchestai_jax.workflow import Catalog, TaskType

CATALOG = Catalog(task_types=tuple(TaskType(id=i) for i in "ab"))
SAMPLES = [PlanningSample(f"s{i}", "…", ("a",)) for i in range(60)]


def test_parts_hold_every_training_sample_out_once():
    splits = arguments.parts(EdgeData("toy", SAMPLES, CATALOG, ()))["cross_validation"]
    assert len(splits) == arguments.FOLDS
    assert sorted(s.id for _, test in splits for s in test.samples) == sorted(s.id for s in SAMPLES)
    for train, test in splits:
        assert 10 <= len(test.samples) <= 30
        assert not {s.id for s in train} & {s.id for s in test.samples}
        assert len(train) + len(test.samples) == 60


def test_means_and_the_table():
    figures = dict.fromkeys(arguments.FIGURES, 0.5) | {"n": 3, "num_values": 4, "num_references": 5}
    figures["chain_reference_f1"] = 0.25
    seeds = [{"seed": 0, "all": figures}, {"seed": 1, "all": {**figures, "value_f1": 1.0}}]
    mean = arguments.means(seeds)
    assert mean["all"]["value_f1"] == {"mean": pytest.approx(0.75), "std": pytest.approx(0.5**0.5 / 2)}
    whole = {"node_f1": 0.6, "value_f1": 0.4, "reference_f1": 0.3, "n": 3}
    result = {
        "seeds": [0, 1],
        "sets": {
            "toy": {
                "tests": {"test": {"mean": mean, "rules": {**figures, "n": 3}}},
                "end_to_end": [{"seed": 0, "tests": {"test": {"whole_plans": whole}}}],
            }
        },
    }
    console = Console(record=True, width=160, file=io.StringIO())
    console.print(arguments.table(result))
    text = console.export_text()
    for part in ("toy test: all", "0.750", "toy test: rules", "whole plans, seed 0 (node F1 0.600)", "0.400"):
        assert part in text


def test_search_and_quick_runs_overwrite_no_figures():
    kept = arguments.ROOT / "experiments" / "results"
    assert arguments.parse([]).results == kept
    for option in ("--quick", "--cross-validate"):
        assert arguments.parse([option]).results != kept


@pytest.mark.slow
def test_the_whole_script_on_a_few_samples(public_data, tmp_path, monkeypatch):
    folder = public_data("nestful/glaive-data.json").parents[1]
    monkeypatch.setenv("ORCHESTAI_DATA", str(folder))
    command = ["--quick", "--only", "nestful", "--seeds", "0", "--workdir", str(tmp_path), "--data", str(folder)]
    try:
        got = arguments.main(command)
    except FileNotFoundError as missing:  # the encoder is no requirement of the tests
        pytest.skip(str(missing))
    assert json.loads((tmp_path / "arguments.json").read_text())["sets"] == got["sets"]
    for figures in got["sets"]["nestful"]["tests"].values():
        assert 0 <= figures["mean"]["all"]["value_f1"]["mean"] <= 1
        assert figures["rules"]["reference_f1"] == 0
