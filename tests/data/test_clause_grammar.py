"""The language of clause templates."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestai_jax.data import DataError
from orchestai_jax.data.clause_grammar import Slot, parse_clause


def texts(line, draws=200):
    rng = np.random.default_rng(0)
    clause = parse_clause(line)
    return {"".join(f"<{p.name}>" if isinstance(p, Slot) else p for p in clause.draw(rng)) for _ in range(draws)}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("plain  text", {"plain text"}),
        ("cut {image} to {width}", {"cut <image> to <width>"}),
        ("(a|b) c", {"a c", "b c"}),
        ("x(|,y)", {"x", "x,y"}),
        ("((a|b) of|) {t}", {"a of <t>", "b of <t>", " <t>"}),
        ("size (in pixels) {w}", {"size (in pixels) <w>"}),
        ("({a}|the (first|second)|{b}s)", {"<a>", "the first", "the second", "<b>s"}),
    ],
)
def test_every_alternative_is_drawn(line, expected):
    assert texts(line) == expected


def test_slots_are_found_in_all_alternatives():
    assert parse_clause("{a} ({b}|(x|{c}))").slots() == {"a", "b", "c"}


@pytest.mark.parametrize(
    "line", ["", "  ", "a (b|c", "a) b", "{a", "a}", "{}", "{a b}", "{1}", "(a|{b)", "((a|b)", "{a|b}", "a | b"]
)
def test_what_does_not_pair_is_refused(line):
    with pytest.raises(DataError, match="template"):
        parse_clause(line)


@given(st.text("ab(){}| ", max_size=12))
@settings(max_examples=50, deadline=None)
def test_any_line_is_parsed_or_refused(line):
    try:
        clause = parse_clause(line)
    except DataError:
        return
    clause.draw(np.random.default_rng(0))
