"""Edges given the gold tasks, beside the chain baseline."""

import io
import json

import pytest
from rich.console import Console

from orchestai_jax.data.sample import PlanningSample
from orchestai_jax.evaluation import evaluate_edges, report_edges, score_edges
from orchestai_jax.workflow import Catalog

SAMPLES = [
    PlanningSample("chain", "x", ("a", "b", "c"), ((0, 1), (1, 2))),
    PlanningSample("fork", "y", ("a", "b", "c"), ((0, 1), (0, 2))),
    PlanningSample("parallel", "z", ("a", "b")),
]


def test_report_compares_with_the_chain():
    got = report_edges(SAMPLES, [((0, 1), (1, 2)), ((0, 1),), ()])
    assert list(got.predicted.link_f1) == pytest.approx([1, 2 / 3, 1])
    assert list(got.chain.link_f1) == pytest.approx([1, 1 / 2, 0])
    assert got.predicted.reference_f1 == pytest.approx(2 * 3 / (3 + 4))
    assert got.chain.reference_f1 == pytest.approx(2 * 3 / (5 + 4))
    assert (got.n, got.n_linear) == (3, 1)
    low, high = got.gain_interval
    assert low <= (8 / 3 - 3 / 2) / 3 <= high
    figures = got.as_dict()
    assert figures["link_f1"] == pytest.approx(8 / 9)
    assert figures["chain"]["link_f1"] == pytest.approx(0.5)
    json.dumps(figures, allow_nan=False)


def test_the_graph_generator_gets_text_tasks_and_catalog():
    asked = []

    class Graph:
        def graph(self, text, task_types, catalog=None):
            asked.append((text, task_types, catalog))
            return ((0, 1),)

    catalog = Catalog(name="other")
    got = evaluate_edges(Graph(), SAMPLES, catalog)
    assert asked[1] == ("y", ("a", "b", "c"), catalog)
    assert list(got.predicted.link_f1) == pytest.approx([2 / 3, 2 / 3, 0])


def test_a_chain_with_a_shortcut_is_no_chain():
    shortcut = PlanningSample("s", "x", ("a", "b", "c"), ((0, 1), (1, 2), (0, 2)))
    assert report_edges([shortcut, SAMPLES[0]], [(), ()]).n_linear == 1


def test_a_cycle_is_no_graph():
    assert score_edges(SAMPLES[:1], [((0, 1), (1, 2), (2, 0))]).link_f1[0] == 0


def test_the_table_shows_both():
    console = Console(record=True, width=120, file=io.StringIO())
    console.print(report_edges(SAMPLES, [()] * 3).table("Edges of toys"))
    text = console.export_text()
    assert "Edges of toys (3 samples, 1 of them chains)" in text
    assert "graph generator" in text
    assert "chain of the tasks" in text


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="1 lists of edges for 3 samples"):
        score_edges(SAMPLES, [()])
    with pytest.raises(ValueError, match=r"dependency \(0, 2\)"):
        score_edges(SAMPLES[2:], [((0, 2),)])
