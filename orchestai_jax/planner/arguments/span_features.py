"""Features of spans by themselves: shape, neighbours, place in the text."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from orchestai_jax.planner.arguments.lexicon import word_set
from orchestai_jax.planner.arguments.spans import KINDS, NO_START, Span, SpannedText, SpanWord

_CUE_WORDS = (
    "in of for with from to at by as on using the a an is are was be and or named called titled about into between "
    "specifically including like than during my this that"
)
_FOLLOWER_WORDS = "and or in of for with from to at by as on using the a is are level type based"
_CUE = {word: k for k, word in enumerate(_CUE_WORDS.split())}
_FOLLOWER = {word: k for k, word in enumerate(_FOLLOWER_WORDS.split())}
_ASKING = word_set(
    "retrieve get find need want provide check calculate help analyze please know like information create search tell "
    "assistance details data obtain gather give show perform determine additionally finally lastly afterwards firstly"
)
_LENGTHS = 5

SHAPE_FEATURES = len(KINDS) + _LENGTHS + len(_CUE) + 2 + len(_FOLLOWER) + 3 + 17
"""How many features `shape_features` gives."""


def shape_features(spanned: SpannedText) -> Float[np.ndarray, "C Fs"]:
    """What can be told of each span without knowing the parameter, values in [0, 1]."""
    rows = np.zeros((len(spanned.spans), SHAPE_FEATURES), np.float32)
    words = spanned.words
    for row, span in zip(rows, spanned.spans, strict=True):
        _fill(row, span, words)
    return rows


def _fill(row: np.ndarray, span: Span, words: tuple[SpanWord, ...]) -> None:
    at = 0
    row[at + KINDS.index(span.kind)] = 1
    at += len(KINDS)
    length = span.last - span.first + 1
    row[at + min(length, _LENGTHS) - 1] = 1
    at += _LENGTHS
    before = words[span.first - 1] if span.first > 0 and not words[span.first].opens else None
    if before is None:
        row[at + len(_CUE)] = 1
    elif before.lower in _CUE:
        row[at + _CUE[before.lower]] = 1
    else:
        row[at + len(_CUE) + 1] = 1
    at += len(_CUE) + 2
    last = words[span.last]
    after = words[span.last + 1] if span.last + 1 < len(words) and not last.breaks else None
    if after is None:
        row[at + len(_FOLLOWER)] = 1
    elif after.lower in _FOLLOWER:
        row[at + _FOLLOWER[after.lower]] = 1
    else:
        row[at + len(_FOLLOWER) + 1] = 1
    row[at + len(_FOLLOWER) + 2] = last.comma
    at += len(_FOLLOWER) + 3
    inner = words[span.first : span.last + 1]
    capital = [w.text[:1].isupper() for w in inner]
    digit = [any(c.isdigit() for c in w.text) for w in inner]
    joined = "".join(w.text for w in inner)
    comma_before = before is not None and before.comma
    row[at : at + 17] = (
        all(capital),
        any(capital),
        any(digit),
        joined.isdigit(),
        any(digit) and any(c.isalpha() for c in joined),
        joined.islower(),
        joined.isupper() and len(joined) > 1,
        sum(w.comma for w in inner[:-1]) / 3,
        sum(w.lower in NO_START for w in inner) / length,
        any(w.lower == "and" for w in inner),
        inner[-1].lower.endswith("s"),
        inner[0].lower in _ASKING,
        any(w.lower in _ASKING for w in inner),
        # a longer run of capitals, or of content words, of which this is a part
        before is not None and not comma_before and before.text[:1].isupper() and capital[0] and not before.opens,
        after is not None and not last.comma and after.text[:1].isupper() and capital[-1],
        before is not None and not comma_before and before.lower not in NO_START,
        after is not None and not last.comma and after.lower not in NO_START,
    )
