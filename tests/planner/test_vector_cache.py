"""Descriptions are encoded once: kept is what was put, for one encoder only, and a broken file costs nothing."""

import logging
import sqlite3

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestai_jax.planner import description_vectors
from orchestai_jax.planner.catalog_arrays import description_texts
from orchestai_jax.planner.description_vectors import catalog_vectors
from orchestai_jax.planner.vector_cache import VectorCache, fingerprint
from orchestai_jax.workflow import Catalog, TaskType

TEXTS = st.text(st.characters(), max_size=20)


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(TEXTS, st.lists(st.floats(-1, 1, width=32), min_size=3, max_size=3), max_size=8), TEXTS)
def test_what_is_kept_is_what_was_put(tmp_path_factory, vectors, other):
    cache = VectorCache("one", tmp_path_factory.mktemp("cache"))
    arrays = {text: np.array(v, np.float32) for text, v in vectors.items()}
    cache.put(arrays)
    found = VectorCache("one", cache._path.parent).get([*vectors, other])
    assert found.keys() - {other} == vectors.keys() - {other}
    for text, vector in found.items():
        np.testing.assert_array_equal(vector, arrays[text])
    assert VectorCache("two", cache._path.parent).get(list(vectors)) == {}


def test_more_texts_than_one_statement_takes(tmp_path):
    cache = VectorCache("one", tmp_path)
    many = {f"text {i}": np.full(2, i, np.float32) for i in range(1203)}
    cache.put(many)
    found = cache.get(list(many))
    assert len(found) == 1203
    assert all(found[t][0] == v[0] for t, v in many.items())


@pytest.mark.parametrize("broken", ["garbage", "folder", "other table"])
def test_a_cache_that_cannot_be_used_is_said_once_and_does_without(tmp_path, caplog, broken):
    file = tmp_path / "descriptions.sqlite"
    if broken == "garbage":
        file.write_bytes(b"not a database at all" * 100)
    elif broken == "folder":
        file.mkdir()
    else:
        with sqlite3.connect(file) as connection:
            connection.execute("create table vectors (other text)")
    cache = VectorCache("one", tmp_path)
    with caplog.at_level(logging.WARNING):
        cache.put({"a": np.ones(2, np.float32)})
        assert cache.get(["a"]) == {}
    assert [r.message.count("cannot be used") for r in caplog.records] == [1]


def test_the_fingerprint_tells_encoders_apart():
    one = {"a": np.zeros((2, 3), np.float32), "b": np.array(1.0, np.float32)}
    key = fingerprint(one, "words")
    assert key == fingerprint(dict(reversed(one.items())), "words")
    assert key != fingerprint(one, "other words")
    assert key != fingerprint({**one, "b": np.array(1.5, np.float32)}, "words")
    assert key != fingerprint({**one, "a": np.zeros((3, 2), np.float32)}, "words")
    assert key != fingerprint({"a": one["a"], "c": one["b"]}, "words")


def test_only_what_is_new_is_encoded(tiny, tokenizer, catalog, tmp_path, monkeypatch):
    _, graphdef, parameters, _, vectors, _ = tiny
    cache = VectorCache("tiny", tmp_path)
    encoded = []
    encode = description_vectors._encode
    monkeypatch.setattr(
        description_vectors, "_encode", lambda *a: (encoded.append(list(a[3])), encode(*a))[1], raising=True
    )
    first = catalog_vectors(graphdef, parameters, tokenizer, catalog, cache=cache)
    np.testing.assert_array_equal(first, vectors)
    assert encoded == [description_texts(catalog)]
    again = catalog_vectors(graphdef, parameters, tokenizer, catalog, cache=cache)
    np.testing.assert_array_equal(again, vectors)
    more = Catalog(name="more", task_types=(TaskType(id="new", description="brand new"), *catalog.task_types[::-1]))
    found = catalog_vectors(graphdef, parameters, tokenizer, more, cache=cache)
    assert encoded[1:] == [["new: brand new"]]
    np.testing.assert_array_equal(found[1:], vectors[len(catalog.task_types) - 1 :: -1])


def test_a_planner_keeps_a_catalog_it_meets(planner, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(planner, "_bound", {})
    monkeypatch.delitem(planner.__dict__, "vector_cache", raising=False)
    catalog = Catalog(name="met", task_types=(TaskType(id="whisper", description="say it softly"),))
    planner.plan("say it softly", catalog=catalog)
    assert set(planner.vector_cache.get(["whisper: say it softly"])) == {"whisper: say it softly"}
    monkeypatch.setattr(planner, "_bound", {})
    monkeypatch.setattr(description_vectors, "_encode", None)  # would raise if anything were encoded
    assert planner.plan("say it softly", catalog=catalog).tasks
