"""The script on graph layers: what is set beside what."""

import io

import graph_layers as script
import pytest
from rich.console import Console


def figures(links, references):
    def seed(value):
        return {"gold_tasks": {"all": {"reference_f1": value}}}

    def mean(values):
        return {"mean": sum(values) / len(values), "std": 0.1 if len(values) > 1 else None}

    given = {"link_f1": mean(links), "reference_f1": mean(references)}
    given["chain"] = {"link_f1": 0.9, "reference_f1": 0.8}
    return {"toy": {"n": 5, "mean": {"gold_tasks": {"all": given}}, "seeds": [seed(r) for r in references]}}


def test_each_seed_is_compared_with_the_same_seed_without_a_layer():
    found = {"none": figures([0.5, 0.7], [0.6, 0.8]), "gat": figures([0.6, 0.8], [0.7, 0.75])}
    got = script.by_layer(found, "toy")
    assert got["n"] == 5
    assert list(got["layers"]) == ["none", "chain", "gat"]
    assert got["layers"]["gat"]["reference_f1_above_none"] == pytest.approx([0.1, -0.05])
    assert "reference_f1_above_none" not in got["layers"]["none"]
    console = Console(record=True, width=140, file=io.StringIO())
    console.print(script.table({"seeds": [0, 1], "tests": {"toy": got}}))
    shown = console.export_text()
    for words in ("gat", "0.700 ± 0.100", "+0.100, -0.050", "the tasks in a chain", "0.800"):
        assert words in shown


def test_one_seed_has_no_spread_and_no_layer_nothing_to_be_compared_with():
    got = script.by_layer({"sage": figures([0.5], [0.6])}, "toy")["layers"]["sage"]
    assert "reference_f1_above_none" not in got
    assert script.told(got["link_f1"]) == "0.500"


def test_a_quick_run_writes_nowhere_near_the_figures_of_record():
    quick, whole = script.parse(["--quick"]), script.parse([])
    assert quick.results == quick.workdir
    assert whole.results.parts[-2:] == ("experiments", "results")
