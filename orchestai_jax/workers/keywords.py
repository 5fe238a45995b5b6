"""Three keyword extractors: word frequency, RAKE, TextRank."""

from __future__ import annotations

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


def extract_keywords_rake(call: ToolCall) -> dict[str, Any]:
    """Phrases between stop words scored by degree / frequency of their words (Rose et al. 2010, RAKE).

    A phrase of more than 3 words is cut into its first three; a phrase's score counts once per occurrence, so that
    a long phrase that occurs once does not beat every topic of the text.
    """
    phrases = [tuple(phrase[:3]) for phrase in _phrases(call.text("text"))]
    frequency: Counter[str] = Counter()
    degree: Counter[str] = Counter()
    for phrase in phrases:
        for word in phrase:
            frequency[word] += 1
            degree[word] += len(phrase)
    occurrences = Counter(phrases)
    score = {p: occurrences[p] * sum(degree[w] / frequency[w] for w in p) for p in occurrences}
    ranked = sorted(score, key=lambda p: (-score[p], p))
    return _result(call, _without_contained([" ".join(p) for p in ranked]))


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
    return _result(call, _without_contained(ranked))


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
    return {s: min(forms[s], key=lambda w: (-forms[s][w], w)) for s in forms}


def _without_contained(ranked: list[str]) -> list[str]:
    """Phrases in order, without those whose stems are all within one that ranks higher."""
    kept: list[str] = []
    for phrase in ranked:
        stems = {stem(w) for w in phrase.split()}
        if not any(stems <= {stem(w) for w in other.split()} for other in kept):
            kept.append(phrase)
        if len(kept) >= 200:  # no call asks for more
            break
    return kept


def _result(call: ToolCall, keywords: list[str]) -> dict[str, Any]:
    if not keywords:
        raise WorkerError("the text has no keyword: every word is a stop word or too short")
    return {"keywords": ", ".join(keywords[: call.integer("count", 1, 200)])}
