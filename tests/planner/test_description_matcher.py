"""Matching descriptions: its formula by loops, what training sees is what planning sees, decoding by labels."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from orchestai_jax.config import DecodingConfig, Preference
from orchestai_jax.planner import Planner
from orchestai_jax.planner.decoding import decode
from orchestai_jax.planner.description_matcher import DescriptionMatcher, Evidence
from orchestai_jax.planner.evidence_reader import EvidenceReader
from orchestai_jax.planner.model import build_model, merge_parameters, split_parameters
from orchestai_jax.planner.segments import PADDING, WHOLE
from orchestai_jax.training.segmented_texts import SegmentedTexts

TEXTS = ["translate the text, then caption an image", "crop it and blur it and summarise the text", "image"]


@pytest.fixture(scope="module")
def matching(tiny, catalog, tokenizer):
    """(spec, graphdef, parameters) of an untrained planner that matches descriptions; and makes such planners."""
    planner = tiny[0].planner
    decomposer = planner.decomposer.model_copy(update={"match_descriptions": True})
    config = planner.model_copy(update={"decomposer": decomposer, "decoding": DecodingConfig(method="labels")})
    spec = dataclasses.replace(tiny[0], planner=config)
    graphdef, parameters = split_parameters(build_model(spec, 0))
    random = np.random.default_rng(0)
    moved = {k: jnp.float32(v + 0.1 * random.normal(size=v.shape)) for k, v in parameters.items()}

    def make(spec=spec, **changes):
        vectors, statistics = np.asarray(tiny[4]), tiny[5]
        return Planner(spec, {**moved, **changes}, tokenizer, catalog, statistics, vectors, Preference())

    return spec, graphdef, moved, make


def _evidence(random, batch=2, segments=4, types=5, width=6):
    vectors = random.normal(size=(batch, segments, width))
    kinds = np.array([[WHOLE, 0, 0, 1], [WHOLE, 0, 2, PADDING]], np.int32)
    return Evidence(
        jnp.float32(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)),
        jnp.asarray(kinds),
        jnp.asarray(random.integers(0, 9, kinds.shape)),
        jnp.float32(random.random((batch, segments, types, 3))),
    )


def test_the_log_odds_are_those_of_the_best_segment_after_rivalry():
    random = np.random.default_rng(1)
    evidence, matcher = _evidence(random), DescriptionMatcher()
    descriptions = random.normal(size=(5, 6))
    logits, best = matcher(evidence, jnp.float32(descriptions))
    w, bias = np.asarray(matcher.weights[...], float), np.asarray(matcher.kind_bias[...], float)
    for b in range(2):
        real = [s for s in range(4) if evidence.kinds[b, s] >= 0]
        match = np.full((4, 5), -np.inf)
        for s in real:
            for t in range(5):
                cosine = float(np.asarray(evidence.vectors[b, s]) @ descriptions[t]) / np.linalg.norm(descriptions[t])
                match[s, t] = w[0] * cosine + w[1:] @ np.asarray(evidence.overlap[b, s, t]) + bias[evidence.kinds[b, s]]
        for s in real:
            match[s] -= float(matcher.rivalry[...]) * (match[s].max() - match[s])
        added = float(matcher.bias[...]) + float(matcher.length_weight[...]) * np.log(len(real))
        np.testing.assert_allclose(logits[b], match.max(axis=0) + added, rtol=1e-5)
        assert best[b].tolist() == match.argmax(axis=0).tolist()


def test_training_sees_the_evidence_that_planning_sees(matching, catalog, tokenizer):
    _, graphdef, parameters, _ = matching
    model = merge_parameters(graphdef, parameters)
    reader = EvidenceReader.of(catalog)
    kept = SegmentedTexts(TEXTS, tokenizer, 64, reader, jax.jit(model.segment_vectors))
    token_ids = tokenizer.encode_batch(TEXTS, 64)
    ids, mask = np.zeros((3, 32), np.int32), np.zeros((3, 32), bool)
    for row, tokens in enumerate(token_ids):
        ids[row, : len(tokens)], mask[row, : len(tokens)] = tokens, True
    segments = reader.read(TEXTS, [tokenizer.offsets(text, 64) for text in TEXTS], 32)
    planning = model.evidence(jnp.asarray(ids), jnp.asarray(mask), jax.tree.map(jnp.asarray, segments))
    training = kept.evidence([0, 1, 2], 32)
    assert (np.asarray(planning.kinds) >= 0).sum() > 8
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6), planning, training)


def test_of_types_never_seen_the_matcher_alone_decides(matching, tiny):
    _, graphdef, parameters, _ = matching
    model, arrays = merge_parameters(graphdef, parameters), tiny[3]
    unseen = arrays.replace(known=arrays.known.at[1].set(len(arrays.known) + 1))
    random = np.random.default_rng(2)
    evidence = _evidence(random, width=16)
    lower, mask = jnp.float32(random.normal(size=(2, 8, 16))), jnp.ones((2, 8), bool)
    encoded = model.encode(unseen, lower, mask, evidence=evidence)
    np.testing.assert_array_equal(encoded.labels[:, 1], encoded.matched[:, 1])
    assert np.abs(np.asarray(encoded.labels - encoded.matched))[:, [0, 2, 3, 4]].min() > 1e-3
    with pytest.raises(ValueError, match="wants the evidence"):
        model.encode(unseen, lower, mask)


def test_decoding_by_labels_takes_what_is_probable_in_order_of_mention(matching, tiny, monkeypatch):
    _, graphdef, parameters, _ = matching
    model, arrays = merge_parameters(graphdef, parameters), tiny[3]
    labels = jnp.array([[2.0, -3.0, 0.1, -0.1, 1.0], [-5.0, -4.0, -9.0, -5.0, -6.0]])
    mentions = jnp.array([[7.0, 0.0, 3.0, 1.0, 3.0], [0.0] * 5])
    encoded = model.encode(arrays, jnp.ones((2, 8, 16)), jnp.ones((2, 8), bool), evidence=_evidence(
        np.random.default_rng(3), width=16))  # fmt: skip
    encoded = encoded.replace(labels=labels, mentions=mentions)
    monkeypatch.setattr(type(model), "encode", lambda *_, **__: encoded)
    config = DecodingConfig(method="labels", label_threshold=0.5)
    plans = decode(model, arrays, jnp.ones((2, 8, 16)), jnp.ones((2, 8), bool), jnp.ones((2, 3)), config)
    # of two spoken of at once (4 and 2) the more probable first; where nothing is probable, the most probable
    assert plans.chosen.tolist() == [[4, 2, 0], [1, 5, 5]]
    odds = 1 / (1 + np.exp(-np.asarray(labels, float)))
    np.testing.assert_allclose(np.exp(plans.task_logp[0]), odds[0, [4, 2, 0]], rtol=1e-5)
    np.testing.assert_allclose(plans.task_support[0], odds[0, [4, 2, 0]], rtol=1e-5)
    chance = odds[0, 4] * odds[0, 2] * odds[0, 0] * (1 - odds[0, 1]) * (1 - odds[0, 3])
    assert float(plans.plan_support[0]) == pytest.approx(chance, rel=1e-4)


def test_plans_are_the_same_one_by_one_and_many_and_explained(matching):
    planner = matching[3]()
    many = planner.plan_many([*TEXTS, ""])
    assert [[t.task_type for t in w.tasks] for w in many[:3]] == [
        [t.task_type for t in planner.plan(text).tasks] for text in TEXTS
    ]
    assert all(workflow.tasks for workflow in many[:3])
    explanation = planner.explain(TEXTS[0])
    assert [t.task_type for t in explanation.workflow.tasks] == [t.task_type for t in many[0].tasks]
    assert explanation.words == tuple(TEXTS[0].split())
    assert len(planner.task_type_scores(TEXTS[0])) == 5
    assert len(planner.candidates(TEXTS[0], 2)) == 2
    assert planner.graph(TEXTS[0], ["caption", "translate"]) in ((), ((0, 1),))
