"""Features of spans by themselves: shape, neighbours, place in the text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from orchestai_jax.planner.arguments.lexicon import word_set
from orchestai_jax.planner.arguments.spans import KINDS, NO_START, SpannedText, SpanWord

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
    if not spanned.spans:
        return np.zeros((0, SHAPE_FEATURES), np.float32)
    first = np.array([s.first for s in spanned.spans])
    last = np.array([s.last for s in spanned.spans])
    words = _Words(spanned.words)
    length = last - first + 1
    kinds = np.array([KINDS.index(s.kind) for s in spanned.spans])
    before, after = words.before[first], words.after[last]
    return np.concatenate(
        [
            np.eye(len(KINDS))[kinds],
            np.eye(_LENGTHS)[np.minimum(length, _LENGTHS) - 1],
            np.eye(len(_CUE) + 2)[before],
            np.eye(len(_FOLLOWER) + 2)[after],
            words.comma[last][:, None],
            words.looks(first, last, length),
        ],
        axis=1,
    ).astype(np.float32)


class _Words:
    """What is asked of words, as arrays; sums over a span are differences of running sums."""

    def __init__(self, words: Sequence[SpanWord]):
        self.comma = np.array([w.comma for w in words], float)
        self.capital = np.array([w.text[:1].isupper() for w in words])
        self.function = np.array([w.lower in NO_START for w in words])
        self.opens = np.array([w.opens for w in words])
        self.breaks = np.array([w.breaks for w in words])
        self.plural = np.array([w.lower.endswith("s") for w in words])
        self.asks = np.array([w.lower in _ASKING for w in words])
        self._sums = [
            np.concatenate([[0.0], np.cumsum(column)])
            for column in (
                self.capital,
                [any(c.isdigit() for c in w.text) for w in words],
                [w.text.isdigit() for w in words],
                [any(c.isalpha() for c in w.text) for w in words],
                [any(c.isupper() for c in w.text) for w in words],
                [any(c.islower() for c in w.text) for w in words],
                [len(w.text) for w in words],
                self.comma,
                self.function,
                [w.lower == "and" for w in words],
                self.asks,
            )
        ]
        lower = [w.lower for w in words]
        others, edge = len(_CUE) + 1, len(_CUE)
        self.before = np.array(
            [edge if w.opens or k == 0 else _CUE.get(lower[k - 1], others) for k, w in enumerate(words)]
        )
        """Which cue stands before each word; the last two are a sentence's begin and any other word."""
        others, edge = len(_FOLLOWER) + 1, len(_FOLLOWER)
        ends = [w.breaks or k == len(words) - 1 for k, w in enumerate(words)]
        self.after = np.array([edge if end else _FOLLOWER.get(lower[k + 1], others) for k, end in enumerate(ends)])

    def looks(self, first: np.ndarray, last: np.ndarray, length: np.ndarray) -> np.ndarray:
        """[spans, 17]: letters, digits and function words inside, and whether a longer run goes on at either side."""
        capital, digit, number, alpha, upper, lower, characters, comma, function, conjunction, asking = (
            total[last + 1] - total[first] for total in self._sums
        )
        left, right = np.maximum(first - 1, 0), np.minimum(last + 1, len(self.comma) - 1)
        joined_left = (first > 0) & ~self.opens[first] & (self.comma[left] == 0)
        joined_right = (last + 1 < len(self.comma)) & ~self.breaks[last] & (self.comma[last] == 0)
        columns = [
            capital == length,
            capital > 0,
            digit > 0,
            number == length,
            (digit > 0) & (alpha > 0),
            (lower > 0) & (upper == 0),
            (upper > 0) & (lower == 0) & (characters > 1),
            (comma - self.comma[last]) / 3,
            function / length,
            conjunction > 0,
            self.plural[last],
            self.asks[first],
            asking > 0,
            joined_left & self.capital[left] & self.capital[first] & ~self.opens[left],
            joined_right & self.capital[right] & self.capital[last],
            joined_left & ~self.function[left],
            joined_right & ~self.function[right],
        ]
        return np.stack([np.asarray(c, float) for c in columns], axis=1)
