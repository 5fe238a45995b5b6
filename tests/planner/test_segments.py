"""Segments of an instruction: runs of clauses, and the tokens in them."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from orchestai_jax.planner.segments import PADDING, WHOLE, Segment, split_segments, token_membership

TEXT = "Blur the photo, caption it, and translate the caption."


def test_the_whole_comes_first_then_clauses_then_runs_of_two_and_three():
    found = [(TEXT[s.start : s.end].strip(" ,.") or None, s.kind) for s in split_segments(TEXT, 99)]
    clauses = ["Blur the photo", "caption it", "and translate the caption"]
    assert found[0] == (TEXT.strip("."), WHOLE)
    assert [text for text, kind in found if kind == 0] == clauses
    assert [text for text, kind in found if kind == 1] == [f"{a}, {b}" for a, b in itertools.pairwise(clauses)]
    assert [kind for _, kind in found] == [WHOLE, 0, 0, 0, 1, 1, 2]


@given(st.text(alphabet="ab ,.and\u4e2d", max_size=60), st.integers(1, 20))
def test_segments_lie_in_the_text_and_are_no_more_than_asked_for(text, most):
    found = split_segments(text, most)
    assert 1 <= len(found) <= most
    assert all(0 <= s.start <= s.end <= len(text) and s.kind in (0, 1, 2, WHOLE) for s in found)


def test_a_token_is_in_each_segment_that_it_touches():
    # [CLS] blur it , crop [SEP], of "blur it, crop"
    offsets = [(0, 0), (0, 4), (5, 7), (7, 8), (9, 13), (0, 0)]
    segments = [Segment(0, 13, WHOLE), Segment(0, 8, 0), Segment(8, 13, 0), Segment(13, 20, 0)]
    inside, kinds = token_membership(segments, offsets, 5, 8)
    assert inside.astype(int).tolist() == [
        [1, 1, 1, 1, 1, 1, 0, 0],
        [0, 1, 1, 1, 0, 0, 0, 0],
        [0, 0, 0, 0, 1, 0, 0, 0],
        [0] * 8,
        [0] * 8,
    ]
    assert kinds.tolist() == [WHOLE, 0, 0, PADDING, PADDING]
    assert np.array_equal(token_membership(segments, offsets, 2, 8)[0], inside[:2])
