"""Two language detectors: by stop words, and by letter trigrams."""

from __future__ import annotations

import functools
import math
from collections import Counter
from typing import Any

from orchestai_jax.workers.language_samples import SAMPLES, STOP_WORDS
from orchestai_jax.workers.local_tool import ToolCall
from orchestai_jax.workers.words import words_of
from orchestai_jax.workers.worker import WorkerError

MAX_LETTERS = 20_000
"""Only so much of the beginning of a text is looked at."""

UNKNOWN = "unknown"


def detect_language_stopwords(call: ToolCall) -> dict[str, Any]:
    """The language whose stop words are the largest share of the words; `unknown` where there are none."""
    words = _words(call)
    hits = {language: sum(word in stop_words for word in words) for language, stop_words in _stop_words().items()}
    best = max(hits, key=lambda language: hits[language])
    return {"language": best if hits[best] else UNKNOWN}


def detect_language_trigrams(call: ToolCall) -> dict[str, Any]:
    """The language under which the text's letter trigrams are likeliest (naive Bayes, Dunning 1994, add-0.1 smoothed).

    `unknown` where less than a tenth of the trigrams occur in any language's sample: another script or no language.
    """
    trigrams = _trigrams(_words(call))
    profiles = _profiles()
    known = set().union(*profiles.values())
    if sum(count for t, count in trigrams.items() if t in known) < 0.1 * trigrams.total():
        return {"language": UNKNOWN}
    likelihood = {}
    for language, profile in profiles.items():
        total = profile.total() + 0.1 * len(known)
        likelihood[language] = sum(c * math.log((profile[t] + 0.1) / total) for t, c in trigrams.items())
    return {"language": max(likelihood, key=lambda language: likelihood[language])}


def _words(call: ToolCall) -> list[str]:
    words = words_of(call.text("text")[:MAX_LETTERS])
    if not words:
        raise WorkerError("the text has no words")
    return words


def _trigrams(words: list[str]) -> Counter[str]:
    return Counter(padded[i : i + 3] for word in words for padded in [f" {word} "] for i in range(len(padded) - 2))


@functools.cache
def _profiles() -> dict[str, Counter[str]]:
    """Trigram counts of each language's sample and stop words."""
    return {language: _trigrams(words_of(text + " " + STOP_WORDS[language])) for language, text in SAMPLES.items()}


@functools.cache
def _stop_words() -> dict[str, frozenset[str]]:
    return {language: frozenset(words.split()) for language, words in STOP_WORDS.items()}
