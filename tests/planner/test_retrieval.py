"""Large catalogs: candidates are the matcher's first, planned over as the whole catalog would be."""

import dataclasses
import random

import numpy as np
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestai_jax.config import DecodingConfig, PlannerConfig, Preference, RetrievalConfig
from orchestai_jax.planner import Planner, compiled, description_vectors
from orchestai_jax.planner.catalog_arrays import PlanStatistics, build_catalog_arrays
from orchestai_jax.planner.description_vectors import catalog_vectors, int8_catalog_vectors
from orchestai_jax.planner.encoded_vectors import float_rows, int8_rows
from orchestai_jax.planner.evidence_reader import EvidenceReader
from orchestai_jax.planner.large_catalog import LargeCatalog, stacked
from orchestai_jax.planner.lexical_overlap import Lexicon
from orchestai_jax.planner.model import build_model, split_parameters
from orchestai_jax.planner.vector_cache import VectorCache
from orchestai_jax.workflow import Catalog, Link, Port, TaskType, WorkerSpec, validate_workflow

WORDS = ["translate", "text", "image", "blur", "crop", "caption", "summarise", "sound", "table", "plan"]
TEXTS = ["translate the text, then caption an image", "crop it and blur it and summarise the text", "image"]
SIZE, CANDIDATES = 60, 12


def _large(size=SIZE, **more):
    """Types of three words each, no two alike; a ring of links."""
    draw = random.Random(0)
    port = Port(name="data", type="file")
    words = [" ".join(draw.sample(WORDS, 3)) for _ in range(size)]
    types = tuple(
        TaskType(id=f"{w.split()[0]}_{i}", description=w, inputs=(port,), outputs=(port,)) for i, w in enumerate(words)
    )
    links = tuple(Link(source=types[i].id, target=types[(i + 1) % size].id) for i in range(size))
    return Catalog(task_types=types, links=links, **more)


@pytest.fixture(scope="module")
def make(tiny, catalog, tokenizer):
    """Makes planners: with or without a matcher, narrowing catalogs above so many types."""

    def made(*, matches=True, method="labels", above=20, candidates=CANDIDATES):
        config = tiny[0].planner.model_copy(
            update={
                "decomposer": tiny[0].planner.decomposer.model_copy(update={"match_descriptions": matches}),
                "decoding": DecodingConfig(method=method),
                "retrieval": RetrievalConfig(above=above, candidates=candidates),
            }
        )
        spec = dataclasses.replace(tiny[0], planner=config)
        _, parameters = split_parameters(build_model(spec, 0))
        found = Planner(spec, parameters, tokenizer, catalog, tiny[5], np.asarray(tiny[4]), Preference())
        found.vector_cache = None
        return found

    return made


def _candidates(planner, text, catalog, also=()):
    (view,), inputs = planner._read(planner._bound_to(catalog), [text], planner._reader.tokens([text]), also=also)
    return view, inputs


def test_a_catalog_that_is_not_large_is_planned_over_whole(make, monkeypatch):
    catalog = _large()
    monkeypatch.setattr(compiled, "retrieve", None)  # would raise where anything were looked up
    assert make(above=SIZE).plan(TEXTS[0], catalog) == make(above=10**6).plan(TEXTS[0], catalog)
    with pytest.raises(TypeError):
        make(above=SIZE - 1).plan(TEXTS[0], catalog)


def test_candidates_are_those_that_the_matcher_puts_first(make):
    """Against the matcher's formula in float64 loops, over vectors that were never rounded."""
    planner, catalog, text = make(), _large(), TEXTS[0]
    view, inputs = _candidates(planner, text, catalog)
    vectors = catalog_vectors(planner._graphdef, planner._parameters, planner._tokenizer, catalog).astype(float)
    read = EvidenceReader.of(catalog).read([text], [planner._reader.offsets(text)], inputs.ids.shape[1])
    real = np.flatnonzero(read.kinds[0] >= 0)
    weights, bias = (np.asarray(planner._parameters[f"matcher.{n}"], float) for n in ("weights", "kind_bias"))
    segments = np.asarray(inputs.encoded.segments[0], float)[real]
    match = weights[0] * segments @ vectors.T + np.asarray(read.overlap[0], float)[real] @ weights[1:]
    match += bias[read.kinds[0][real]][:, None]
    leads = set(match.argmax(axis=1).tolist())
    odds = (match - float(planner._parameters["matcher.rivalry"]) * (match.max(axis=1)[:, None] - match)).max(axis=0)
    first = [t for t in np.argsort(-odds, kind="stable").tolist() if t not in leads]
    wanted = sorted([*leads, *first][:CANDIDATES])
    assert len(set(view.types.tolist()) & set(wanted)) >= CANDIDATES - 1  # of near equals rounding may turn one round
    assert leads <= set(view.types.tolist())
    assert view.types.tolist() == sorted(view.types.tolist())
    rest = [t for t in range(SIZE) if t not in view.types][:3]
    assert set(rest) < set(_candidates(planner, text, catalog, also=rest)[0].types.tolist())


def test_scores_over_candidates_are_those_over_the_whole_catalog(make):
    catalog = _large()
    whole, narrowed = (make(above=a).task_type_scores(TEXTS[1], catalog) for a in (10**6, 20))
    assert len(whole) == SIZE
    assert len(narrowed) == CANDIDATES
    odds = [np.log(np.array([found[t] / (1 - found[t]) for t in narrowed])) for found in (whole, narrowed)]
    np.testing.assert_allclose(*odds, atol=0.15)  # 1 / 127 of a cosine, times its weight
    assert next(iter(whole)) in list(narrowed)[:2]


@pytest.mark.parametrize(("matches", "method"), [(True, "labels"), (False, "mbr")])
def test_plans_over_candidates_are_plans_over_the_whole_catalog(make, matches, method):
    workers = tuple(WorkerSpec(id=f"w{i}", task_types=(t.id,), cost=i) for i, t in enumerate(_large().task_types))
    catalog = _large(workers=workers)
    all_are_candidates = make(matches=matches, method=method, candidates=SIZE - 1, above=SIZE - 1)
    planner = make(matches=matches, method=method)
    whole = make(matches=matches, method=method, above=10**6)
    for text in TEXTS:
        wanted = [(t.task_type, t.worker, t.depends_on) for t in whole.plan(text, catalog).tasks]
        got = [(t.task_type, t.worker, t.depends_on) for t in all_are_candidates.plan(text, catalog).tasks]
        assert got == wanted
    many = planner.plan_many([*TEXTS, ""], catalog)
    for text, workflow in zip(TEXTS, many, strict=False):
        assert workflow.tasks
        assert not [f for f in validate_workflow(workflow, catalog) if f.code != "missing_argument"]
        alone = planner.plan(text, catalog)
        assert [(t.task_type, t.worker, t.depends_on) for t in alone.tasks] == [
            (t.task_type, t.worker, t.depends_on) for t in workflow.tasks
        ]
        assert alone.confidence == pytest.approx(workflow.confidence, abs=1e-4)
    explanation = planner.explain(TEXTS[0], catalog)
    assert explanation.workflow == planner.plan(TEXTS[0], catalog)
    assert set(explanation.tasks) == {t.id for t in explanation.workflow.tasks}
    assert len(planner.candidates(TEXTS[0], 2, catalog)) == 2
    first, last = catalog.task_types[0].id, catalog.task_types[-1].id
    assert planner.graph(TEXTS[0], [first, last], catalog) == whole.graph(TEXTS[0], [first, last], catalog)


def test_a_part_of_a_catalog_is_the_catalog_of_that_part():
    """Descriptions, links, ports and workers of what is kept, as laying out the part alone would give them."""
    workers = tuple(WorkerSpec(id=f"w{i}", task_types=(t.id,), cost=i + 1) for i, t in enumerate(_large().task_types))
    everyone = (*workers, WorkerSpec(id="second", task_types=("nothing",), cost=2))
    everyone = (*everyone[:-1], everyone[-1].model_copy(update={"task_types": (_large().task_types[5].id,)}))
    catalog = _large(workers=everyone)
    vectors = np.random.default_rng(0).normal(size=(SIZE + len(everyone), 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    statistics = PlanStatistics.of([], catalog)
    types = np.array([3, 4, 5, 40])
    part = LargeCatalog(catalog, int8_rows(vectors), statistics).narrowed_to(types)
    whole = build_catalog_arrays(catalog, vectors, statistics)
    np.testing.assert_allclose(part.descriptions, whole.descriptions[types], atol=0.005)
    assert part.neighbours[:, 0].tolist() == [1, 2, 4, 4]  # 5 -> 6 and 40 -> 41 lead out of it
    assert part.workers.shape == (8, 16)  # two a type at most
    for c, t in enumerate(types):
        for m in range(2):
            worker = int(whole.able[t, m])
            if worker == len(everyone):
                assert int(part.able[c, m]) == 8
            else:
                row = int(part.able[c, m])
                np.testing.assert_allclose(part.workers[row], whole.workers[worker], atol=0.005)
                assert int(part.worker_known[row]) == worker
    np.testing.assert_array_equal(part.worker_features, whole.worker_features[types])
    few = LargeCatalog(catalog, int8_rows(vectors), statistics).narrowed_to(np.arange(40))
    assert few.workers.shape == (len(everyone), 16)  # the fewer of the two
    np.testing.assert_array_equal(few.able, whole.able[:40])
    both = stacked([part, part])
    assert both["transitions"].shape == whole.transitions.shape
    assert both["able"].shape == (2, 4, 2)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=4), min_size=1, max_size=5),
    st.lists(st.lists(st.sampled_from([*WORDS, "unheard"]), max_size=5), min_size=1, max_size=3),
    st.lists(st.floats(0, 5, width=32), min_size=3, max_size=3),
)
def test_weighted_sums_are_those_of_the_shares(types, texts, weights):
    catalog = Catalog(
        task_types=tuple(TaskType(id=f"{w[0]}_{i}", description=" ".join(w[1:])) for i, w in enumerate(types))
    )
    lexicon, joined = Lexicon(catalog), [" ".join(text) for text in texts]
    shares = lexicon.overlap(joined)
    np.testing.assert_allclose(lexicon.weighted(weights)(joined), shares @ np.array(weights), rtol=1e-4, atol=1e-5)
    some = np.array([len(types) - 1, 0])
    np.testing.assert_array_equal(lexicon.overlap(joined, some), shares[:, some])


def test_vectors_in_8_bits_are_encoded_in_chunks_and_kept(tiny, tokenizer, tmp_path, monkeypatch):
    _, graphdef, parameters, _, _, _ = tiny
    catalog = _large(10)
    monkeypatch.setattr(description_vectors, "_CHUNK", 4)
    cache, told, encoded = VectorCache("tiny", tmp_path, block=16), [], []
    encode = description_vectors._encode
    monkeypatch.setattr(description_vectors, "_encode", lambda *a: (encoded.append(len(a[3])), encode(*a))[1])
    given_ = graphdef, parameters, tokenizer, catalog, lambda *x: told.append(x)
    first = int8_catalog_vectors(*given_, cache).validate()
    assert encoded == [4, 4, 2]
    assert told == [(4, 10), (8, 10), (10, 10)]
    assert first.values.dtype == np.int8
    whole = catalog_vectors(graphdef, parameters, tokenizer, catalog)
    np.testing.assert_allclose(float_rows(first, np.arange(10)), whole, atol=1 / 127)
    again = int8_catalog_vectors(*given_, cache)
    assert len(encoded) == 6  # what `whole` encoded, and nothing for this
    np.testing.assert_array_equal(first.values, again.values)
    np.testing.assert_allclose(first.scale, again.scale, rtol=1e-6)


def test_a_large_catalog_of_training_is_narrowed_too(make, tokenizer, monkeypatch):
    catalog = _large()
    model = make()
    vectors = catalog_vectors(model._graphdef, model._parameters, tokenizer, catalog)
    own = Planner(
        model.spec, model._parameters, tokenizer, catalog, PlanStatistics.of([], catalog), vectors, Preference()
    )
    own.vector_cache = None
    monkeypatch.setattr(description_vectors, "_encode", None)  # the vectors of training are there
    assert own.plan(TEXTS[0]).tasks
    assert own._bound_to(catalog).retrieval is not None


def test_one_length_and_catalog_compile_once(make):
    planner, catalog = make(), _large()
    planner.plan(TEXTS[0], catalog)
    before = compiled.retrieve._cache_size(), len(planner._programs)
    planner.plan("blur the sound", catalog)
    assert (compiled.retrieve._cache_size(), len(planner._programs)) == before


def test_settings_that_contradict_each_other_are_refused():
    with pytest.raises(pydantic.ValidationError, match="candidates 9 must not be more than above 8"):
        RetrievalConfig(candidates=9, above=8)
    with pytest.raises(pydantic.ValidationError, match=r"retrieval.candidates 4 must be at least .*max_tasks 8"):
        PlannerConfig(retrieval=RetrievalConfig(candidates=4, above=8))
