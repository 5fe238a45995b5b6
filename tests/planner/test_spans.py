"""Spans that may be values: what is among them, and that all of them are said."""

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from orchestai_jax.planner.arguments.fitting_values import value_for
from orchestai_jax.planner.arguments.spans import MAX_SPANS, MAX_WORDS, read_spans, singular
from orchestai_jax.workflow import Parameter


def values(text, kind=None):
    return [s.value for s in read_spans(text).spans if kind is None or s.kind == kind]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Tell me about the neurology of bats.", "bat"),
        ("an aerobic capacity test in New York", "aerobic capacity"),
        ("for soft silk, from San Francisco, USA.", "San Francisco, USA"),
        ('Send "Don\'t be late!" to Ann', "Don't be late!"),
        ('Tell the robot "feed the cat', "feed the cat"),
        ("the lion's heart", "lion"),
        ("until March 1, 2016.", "2016-03-01"),
        ("at 3:05 PM", "15:05"),
        ("it costs $10,000 a month", 10000),
        ("with a weight of 53.1kg", 53.1),
        ("a 10-year-old player", 10),
        ("about 2 million people", 2_000_000),
        ("twenty-five rows", 25),
        ("mail ann@example.com now", "ann@example.com"),
        ("between 'New York', 'Boston', and 'Washington D.C.'", ["New York", "Boston", "Washington D.C."]),
        ("made of pasta, bacon and eggs", ["pasta", "bacon", "eggs"]),
        ("the founder of The Great Coffee Shop", "The Great Coffee Shop"),
    ],
)
def test_what_a_text_says_is_among_its_spans(text, value):
    assert value in values(text)


def test_phrases_neither_begin_nor_end_in_a_function_word_nor_cross_a_sentence():
    found = values("Crop the picture of a dog. Then blur it", "phrase")
    assert "picture of a dog" in found
    assert not {"the picture", "picture of a", "dog. Then", "dog Then", "it"} & set(found)


def test_inside_quotes_only_the_whole_is_a_value():
    found = values("play 'Shape of You' now")
    assert "Shape of You" in found
    assert "Shape" not in found


def test_two_items_of_a_list_are_one_text_for_a_text_and_entries_for_an_array():
    span = next(s for s in read_spans("with pasta and bacon").spans if s.kind == "list")
    assert value_for(Parameter(name="x", type="string"), span) == "pasta, bacon"
    assert value_for(Parameter(name="x", type="array"), span) == ["pasta", "bacon"]
    assert value_for(Parameter(name="x", type="array", enum=("Bacon", "Pasta")), span) == ["Pasta", "Bacon"]
    assert value_for(Parameter(name="x", type="array", enum=("Bacon",)), span) is None


@pytest.mark.parametrize(
    ("kind", "text", "fits"),
    [("integer", "use 3 rows", [3]), ("integer", "use 3.5 rows", []), ("number", "use 3.5 rows", [3.5])],
)
def test_numbers_are_all_that_a_number_takes(kind, text, fits):
    parameter = Parameter(name="x", type=kind)
    assert [v for s in read_spans(text).spans if (v := value_for(parameter, s)) is not None] == fits


def test_an_entry_of_an_enumeration_is_given_as_it_is_declared():
    parameter = Parameter(name="x", type="string", enum=("Economy extra", "Flexible"))
    found = {value_for(parameter, s) for s in read_spans("an economy-extra seat").spans}
    assert found == {None, "Economy extra"}
    assert {value_for(Parameter(name="x", type="boolean"), s) for s in read_spans("true").spans} == {None}


@pytest.mark.parametrize(
    ("plural", "one"), [("bats", "bat"), ("berries", "berry"), ("boxes", "box"), ("glass", None), ("IDs", None)]
)
def test_singular(plural, one):
    assert singular(plural) == one


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200) | st.text(alphabet="aA1 .,'\"()-:;$%@/", max_size=120))
def test_any_text_gives_spans_that_it_holds(text):
    read = read_spans(text)
    assert len(read.spans) <= MAX_SPANS
    assert len(read.sentences) == len(read.words)
    for span in read.spans:
        assert 0 <= span.first <= span.last < len(read.words)
        assert 0 <= span.start < span.end <= len(text)
        if span.kind in ("phrase", "quoted", "address"):
            assert str(span.value) in text


def test_a_huge_text_is_read_to_a_bounded_length():
    read = read_spans("some words of a very long text, " * 4000)
    assert len(read.words) <= MAX_WORDS
    assert 0 < len(read.spans) <= MAX_SPANS
    assert read_spans("").spans == read_spans(" .,! ").spans == ()
