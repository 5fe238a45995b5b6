"""Words in common, against shares counted by hand with scikit-learn's weights."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestai_jax.planner.lexical_overlap import Lexicon, stems
from orchestai_jax.workflow import Catalog, TaskType

VOCABULARY = ["get", "set", "weather", "forecast", "of", "the", "city", "trans", "log"]
WORDS = st.lists(st.sampled_from(VOCABULARY), min_size=1, max_size=5)


def _catalog(*types):
    return Catalog(name="c", task_types=tuple(TaskType(id=i, description=d) for i, d in types))


def test_words_are_cut_and_identifiers_split():
    assert stems("getWeatherForecast_v2") == {"get", "weath", "forec", "v2"}
    assert stems("Prévisions MÉTÉO!") == {"prévi", "météo"}
    assert stems("翻译text") == {"翻", "译", "text"}
    assert stems("...") == set()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=4), st.lists(WORDS, min_size=1, max_size=3))
def test_the_shares_are_those_of_idf_weights(types, texts):
    from sklearn.feature_extraction.text import TfidfVectorizer

    both = [" ".join(name + description) for name, description in types]
    named = [("_".join(name) + f"_x{i}", " ".join(description)) for i, (name, description) in enumerate(types)]
    documents = [f"{text} x{i}" for i, text in enumerate(both)]
    fitted = TfidfVectorizer(analyzer=lambda s: [w[:5] for w in s.split()], norm=None).fit(documents)
    idf = dict(zip(fitted.get_feature_names_out(), fitted.idf_, strict=True))
    unknown = np.log(1 + len(types)) + 1

    def mass(words):
        return sum(idf.get(w, unknown) for w in words)

    found = Lexicon(_catalog(*named)).overlap([" ".join(text) for text in texts])
    assert found.shape == (len(texts), len(types), 3)
    for s, text in enumerate(texts):
        held = {w[:5] for w in text}
        for t, (name, description) in enumerate(types):
            names, described = {w[:5] for w in name} | {f"x{t}"}, {w[:5] for w in description}
            wanted = [
                mass(held & names) / mass(names),
                mass(held & described) / mass(described),
                mass(held & (names | described)) / mass(held),
            ]
            assert found[s, t] == pytest.approx(wanted, rel=1e-5)


def test_texts_and_types_without_words_share_nothing():
    lexicon = Lexicon(_catalog(("a", ""), ("???", "...")))
    assert np.array_equal(lexicon.overlap(["", "!!", "zebra"]), np.zeros((3, 2, 3)))
