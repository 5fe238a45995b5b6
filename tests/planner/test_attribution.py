"""Which words spoke: hiding a word by hand gives the same, words that change nothing have said nothing."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestai_jax.config import DecodingConfig, Preference
from orchestai_jax.data.tokenizer import clean_text
from orchestai_jax.planner import Planner
from orchestai_jax.planner.arguments.filling import Filled
from orchestai_jax.planner.attribution import Explanation, argument_words, hide_words, split_words
from orchestai_jax.planner.decoding import decode_given, score_given
from orchestai_jax.planner.model import merge_parameters
from orchestai_jax.quickstart import load_embedded_catalog
from orchestai_jax.workflow import Reference, Task, Workflow

TEXT = "translate the text then caption an image"


@given(st.text(max_size=40))
def test_the_words_are_the_runs_without_blanks(text):
    cleaned = clean_text(text)
    words = [cleaned[start:end] for start, end in split_words(cleaned, len(cleaned))]
    assert words == cleaned.split()
    assert all(start < 3 for start, _ in split_words(cleaned, 3))


def test_every_token_of_a_word_is_hidden_and_no_other():
    # [CLS] un ##do it [SEP]
    offsets = [(0, 0), (0, 2), (2, 4), (5, 7), (0, 0)]
    mask = hide_words([(0, 4), (5, 7)], offsets, 8)
    assert mask.astype(int).tolist() == [
        [1, 1, 1, 1, 1, 0, 0, 0],
        [1, 0, 0, 1, 1, 0, 0, 0],
        [1, 1, 1, 0, 1, 0, 0, 0],
    ]


def test_given_plans_are_judged_as_decoding_found_them(tiny, planner):
    """Log-probabilities of the choices against the search's own, edges against those that decoding draws."""
    spec, graphdef, parameters, arrays, *_ = tiny
    model = merge_parameters(graphdef, parameters)
    ids = jnp.array([planner._tokenizer.encode_batch([TEXT], 64)[0]])
    mask = jnp.ones(ids.shape, bool)
    lower = model.lower(ids, mask)
    workflow = planner.plan(TEXT)
    chosen = np.full((1, spec.planner.decomposer.max_tasks), 5, np.int32)
    chosen[0, : len(workflow.tasks)] = [planner.catalog.index[t.task_type] for t in workflow.tasks]
    logp, edges = score_given(model, arrays, lower, mask, jnp.asarray(chosen))
    # the search's confidence of a task is its probability after those before it (greedy keeps one plan)
    total = sum(float(logp[0, i]) for i in range(min(len(workflow.tasks) + 1, chosen.shape[1])))
    assert workflow.confidence == pytest.approx(np.exp(total), rel=1e-3)
    chosen = np.array([[4, 0, 1]], np.int32)
    _, edges = score_given(model, arrays, lower, mask, jnp.asarray(chosen))
    drawn = decode_given(model, arrays, lower, mask, jnp.ones((1, 3)), jnp.asarray(chosen)).edge_probabilities[0]
    probabilities = 1 / (1 + np.exp(-np.asarray(edges[0])))
    assert np.count_nonzero(drawn) > 0
    for s, t in zip(*np.nonzero(np.asarray(drawn)), strict=True):
        assert probabilities[s, t] == pytest.approx(float(drawn[s, t]), rel=1e-4)


def test_a_words_score_is_what_hiding_it_by_hand_costs(tiny, planner):
    _, graphdef, parameters, arrays, *_ = tiny
    explanation = planner.explain(TEXT)
    assert explanation.words == tuple(TEXT.split())
    assert set(explanation.tasks) == {task.id for task in explanation.workflow.tasks}
    assert set(explanation.edges) == {(p, t.id) for t in explanation.workflow.tasks for p in t.depends_on}
    model = merge_parameters(graphdef, parameters)
    ids = jnp.array([planner._tokenizer.encode_batch([TEXT], 64)[0]])
    offsets = planner._tokenizer.offsets(TEXT, 64)
    chosen = np.full((1, 3), 5, np.int32)
    chosen[0, : len(explanation.workflow.tasks)] = [
        planner.catalog.index[t.task_type] for t in explanation.workflow.tasks
    ]
    seen = jnp.array(
        [[not TEXT.index("caption") <= start < TEXT.index(" an ") or start == end for start, end in offsets]]
    )
    scores = []
    for mask in (jnp.ones_like(seen), seen):
        scores.append(np.asarray(score_given(model, arrays, model.lower(ids, mask), mask, jnp.asarray(chosen))[0][0]))
    word = explanation.words.index("caption")
    for i, task in enumerate(explanation.workflow.tasks):
        assert explanation.tasks[task.id][word] == pytest.approx(float(scores[0][i] - scores[1][i]), abs=1e-4)


def test_an_argument_rests_on_the_words_without_which_it_would_be_another():
    text = "resize photo.png to 400 pixels wide, then blur it"
    workflow = Workflow(
        instruction=text,
        tasks=(Task(id="t1", task_type="resize_image"), Task(id="t2", task_type="blur_image", depends_on=("t1",))),
    )
    words = split_words(text, len(text))
    found = argument_words(workflow, load_embedded_catalog(), words, np.triu(np.ones((2, 2)), k=1))
    names = [text[start:end] for start, end in words]
    spoke = {key: {w for w, changed in zip(names, changes, strict=True) if changed} for key, changes in found.items()}
    assert "photo.png" in spoke["t1", "image"]
    assert "400" in spoke["t1", "width"]
    assert "then" not in spoke["t1", "width"]
    assert "400" not in spoke["t2", "image"]  # which is what t1 gives


def test_the_words_that_are_shown_are_the_highest_above_nothing():
    explanation = Explanation(Workflow(instruction="x"), ("a", "b", "c", "d"), {}, {}, {})
    assert explanation.spoke_for((0.05, 2.0, -1.0, 0.5)) == [("b", 2.0), ("d", 0.5)]
    assert explanation.spoke_for((1.0, 2.0, 3.0, 4.0), most=2) == [("d", 4.0), ("c", 3.0)]
    assert explanation.spoke_for((0.0, -1.0, 0.0, 0.0)) == []


def test_what_cannot_be_planned_has_no_words(planner):
    assert planner.explain("🎉").words == ()
    assert planner.explain("").workflow.tasks == ()


def test_long_texts_are_explained_as_far_as_they_are_read(planner):
    explanation = planner.explain("translate the text " * 2000)
    assert 0 < len(explanation.words) <= 64
    assert all(len(scores) == len(explanation.words) for scores in explanation.tasks.values())


def choosing_by_labels(tiny, planner, edge_threshold=0.5):
    """The planner with tasks chosen by the label head, nearly all of them."""
    spec, _, parameters, _, vectors, statistics = tiny
    parts = {
        "decoding": DecodingConfig(method="labels", label_threshold=0.0001),
        "graph_generator": spec.planner.graph_generator.model_copy(update={"threshold": edge_threshold}),
    }
    other = dataclasses.replace(spec, planner=spec.planner.model_copy(update=parts))
    return Planner(
        other, parameters, planner._tokenizer, planner.catalog, statistics, np.asarray(vectors), Preference()
    )


def test_where_labels_choose_the_tasks_words_are_judged_by_labels(tiny, planner):
    _, graphdef, parameters, arrays, *_ = tiny
    own = choosing_by_labels(tiny, planner)
    explanation = own.explain(TEXT)
    model = merge_parameters(graphdef, parameters)
    ids = jnp.array([own._tokenizer.encode_batch([TEXT], 64)[0]])
    words = split_words(TEXT, len(TEXT))
    masks = hide_words(words, own._tokenizer.offsets(TEXT, 64), ids.shape[1])
    labels = [model.encode(arrays, model.lower(ids, m), m).labels[0] for m in jnp.asarray(masks)[:, None]]
    logp = np.log(1 / (1 + np.exp(-np.asarray(labels, np.float64))))
    assert explanation.workflow.tasks
    for task in explanation.workflow.tasks:
        column = logp[:, own.catalog.index[task.task_type]]
        np.testing.assert_allclose(explanation.tasks[task.id], column[0] - column[1:], atol=1e-4)


def all_from_the_first(text, types, edges, catalog, **_):
    """Fills one argument a task, from the first task."""
    arguments = ({"text": Reference(task="t1", output="text")} if i else {} for i in range(len(types)))
    return Filled(tuple(arguments), frozenset(), (), ())


def test_edges_that_only_a_reference_drew_are_left_to_its_argument(tiny, planner):
    own = choosing_by_labels(tiny, planner, edge_threshold=1.0)

    own.__dict__["_fill"] = all_from_the_first
    explanation = own.explain(TEXT)
    assert explanation.workflow.tasks[1].depends_on == ("t1",)
    assert explanation.edges == {}
    assert ("t2", "text") in explanation.arguments


def test_an_edge_that_does_not_fit_was_not_drawn_however_probable(tiny, planner):
    own = choosing_by_labels(tiny, planner, edge_threshold=0.0)
    own.__dict__["_fill"] = all_from_the_first
    explanation = own.explain(TEXT)
    types = {task.id: own.catalog.task_types[own.catalog.index[task.task_type]] for task in explanation.workflow.tasks}
    wanted = {
        ("t1", name)
        for name, consumer in types.items()
        if name != "t1" and {p.type for p in types["t1"].outputs} & {p.type for p in consumer.inputs}
    }
    assert set(explanation.edges) == wanted
    assert len(wanted) < len(types) - 1
