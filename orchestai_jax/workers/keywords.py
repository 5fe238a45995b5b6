"""Three keyword extractors: word frequency, C-value, TextRank."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from typing import Any

import numpy as np

from orchestai_jax.workers.local_tool import ToolCall
from orchestai_jax.workers.summarization import page_rank
from orchestai_jax.workers.words import ENGLISH_STOP_WORDS, sentences_of, stem, words_of
from orchestai_jax.workers.worker import WorkerError

MAX_GRAPH_WORDS = 3000
"""TextRank keeps a dense graph of the words: only the most frequent ones enter it."""


def extract_keywords_frequency(call: ToolCall) -> dict[str, Any]:
    """The most frequent words that are no stop words."""
    words = [word for word in words_of(call.text("text")) if _is_content(word)]
    counts = Counter(stem(word) for word in words)
    surface = _commonest_forms(words)
    ranked = sorted(counts, key=lambda s: (-counts[s], s))
    return _result(call, [surface[s] for s in ranked])


def extract_keywords_cvalue(call: ToolCall) -> dict[str, Any]:
    """Terms of 1 to 3 words by C-value (Frantzi, Ananiadou & Mima 2000): log2(words + 1) * frequency, where the mean
    frequency of the longer terms that contain a term is taken from its own.
    """
    frequency: Counter[tuple[str, ...]] = Counter()
    forms: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    for phrase in _phrases(call.text("text")):
        for length in (1, 2, 3):
            for start in range(len(phrase) - length + 1):
                words = phrase[start : start + length]
                term = tuple(stem(word) for word in words)
                frequency[term] += 1
                forms[term][" ".join(words)] += 1
    longer: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for term, count in frequency.items():
        if count > 1:  # a neighbourhood seen once is no term
            for length in range(1, len(term)):
                for start in range(len(term) - length + 1):
                    longer[term[start : start + length]].append(count)
    scores = {
        term: math.log2(len(term) + 1) * (count - (sum(longer[term]) / len(longer[term]) if term in longer else 0))
        for term, count in frequency.items()
        if count > 1 or len(term) == 1
    }
    ranked = sorted(scores, key=lambda term: (-round(scores[term], 9), term))
    return _result(call, _without_contained([_commonest(forms[term]) for term in ranked], _count(call)))


def extract_keywords_textrank(call: ToolCall) -> dict[str, Any]:
    """PageRank over words within 3 of each other; adjacent top words form phrases (Mihalcea & Tarau 2004)."""
    text = call.text("text")
    words = [word for word in words_of(text) if _is_content(word)]
    counts = Counter(stem(word) for word in words)
    vocabulary = [s for s, _ in counts.most_common(MAX_GRAPH_WORDS)]
    position = {s: i for i, s in enumerate(vocabulary)}
    weights = np.zeros((len(vocabulary), len(vocabulary)))
    for sentence in sentences_of(text):
        row = [position.get(stem(word)) for word in words_of(sentence) if _is_content(word)]
        for i, first in enumerate(row):
            for second in row[i + 1 : i + 4]:
                if first is not None and second is not None and first != second:
                    weights[first, second] += 1
                    weights[second, first] += 1
    scores = dict(zip(vocabulary, page_rank(weights), strict=True)) if vocabulary else {}
    top = set(sorted(scores, key=lambda s: (-round(scores[s], 12), s))[: max(10, len(scores) // 3)])
    phrase_scores: dict[str, float] = defaultdict(float)
    for phrase in _phrases(text):
        kept: list[str] = []
        for word in [*phrase, ""]:
            if stem(word) in top and len(kept) < 3:
                kept.append(word)
                continue
            if kept:
                phrase_scores[" ".join(kept)] += sum(scores[stem(w)] for w in kept) / len(kept) ** 0.5
            kept = [word] if stem(word) in top else []
    ranked = sorted(phrase_scores, key=lambda p: (-round(phrase_scores[p], 12), p))
    return _result(call, _without_contained(ranked, _count(call)))


def _count(call: ToolCall) -> int:
    return call.integer("count", 1, 200)


def _is_content(word: str) -> bool:
    return len(word) > 2 and word not in ENGLISH_STOP_WORDS


def _phrases(text: str) -> list[list[str]]:
    """Runs of content words between stop words and punctuation."""
    phrases: list[list[str]] = []
    for sentence in sentences_of(text):
        for part in re.split(r"[^\w\s'’-]+|\d+", sentence):
            current: list[str] = []
            for word in words_of(part):
                if _is_content(word):
                    current.append(word)
                elif current:
                    phrases.append(current)
                    current = []
            if current:
                phrases.append(current)
    return phrases


def _commonest_forms(words: list[str]) -> dict[str, str]:
    forms: dict[str, Counter[str]] = defaultdict(Counter)
    for word in words:
        forms[stem(word)][word] += 1
    return {s: _commonest(forms[s]) for s in forms}


def _commonest(counts: Counter[str]) -> str:
    return min(counts, key=lambda form: (-counts[form], form))


def _without_contained(ranked: list[str], count: int) -> list[str]:
    """Phrases in order, without those whose stems are all within one that ranks higher."""
    kept: dict[str, set[str]] = {}
    for phrase in ranked:
        stems = {stem(word) for word in phrase.split()}
        if not any(stems <= other for other in kept.values()):
            kept[phrase] = stems
        if len(kept) >= count:
            break
    return list(kept)


def _result(call: ToolCall, keywords: list[str]) -> dict[str, Any]:
    if not keywords:
        raise WorkerError("the text has no keyword: every word is a stop word or too short")
    return {"keywords": ", ".join(keywords[: _count(call)])}
