"""Three extractive summarisers: the lead, the TF-IDF centroid, TextRank."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np

from orchestai_jax.workers.local_tool import ToolCall
from orchestai_jax.workers.words import content_words, sentences_of
from orchestai_jax.workers.worker import WorkerError

MAX_RANKED_SENTENCES = 2000
"""TextRank compares all pairs of sentences: longer texts are refused rather than taking minutes."""


def summarize_text_lead(call: ToolCall) -> dict[str, Any]:
    """The first sentences."""
    sentences, count = _sentences(call)
    return _write(call, sentences, list(range(count)))


def summarize_text_centroid(call: ToolCall) -> dict[str, Any]:
    """Sentences nearest to the centroid of the TF-IDF vectors (Radev et al. 2004), each penalised by its similarity to
    those chosen already (maximal marginal relevance, Carbonell & Goldstein 1998).
    """
    sentences, count = _sentences(call)
    vectors = _tfidf(sentences)
    centroid: Counter[str] = Counter()
    for vector in vectors:
        centroid.update(vector)
    relevance = [_cosine(vector, centroid) for vector in vectors]
    chosen: list[int] = []
    redundancy = [0.0] * len(sentences)
    while len(chosen) < count:
        left = (i for i in range(len(sentences)) if i not in chosen)
        best = max(left, key=lambda i: (0.7 * relevance[i] - 0.3 * redundancy[i], -i))
        chosen.append(best)
        redundancy = [max(r, _cosine(vectors[i], vectors[best])) for i, r in enumerate(redundancy)]
    return _write(call, sentences, chosen)


def summarize_text_textrank(call: ToolCall) -> dict[str, Any]:
    """PageRank over sentences linked by their word overlap (Mihalcea & Tarau 2004, "TextRank", equation 2)."""
    sentences, count = _sentences(call)
    if len(sentences) > MAX_RANKED_SENTENCES:
        raise WorkerError(
            f"the text has {len(sentences)} sentences; TextRank takes at most {MAX_RANKED_SENTENCES}, "
            "use summarize_text_centroid"
        )
    bags = [set(content_words(sentence)) for sentence in sentences]
    n = len(bags)
    similarity = np.zeros((n, n))
    for i in range(n):
        for j in range(i):
            if shared := len(bags[i] & bags[j]):
                similarity[i, j] = similarity[j, i] = shared / (math.log(len(bags[i]) + 1) + math.log(len(bags[j]) + 1))
    scores = page_rank(similarity)
    chosen = sorted(range(n), key=lambda i: (-round(float(scores[i]), 12), i))[:count]
    return _write(call, sentences, chosen)


def page_rank(weights: np.ndarray, damping: float = 0.85, rounds: int = 60) -> np.ndarray:
    """Stationary scores [n] of a random surfer on a weighted undirected graph [n, n] (Brin & Page 1998)."""
    n = len(weights)
    totals = weights.sum(axis=1)
    transition = weights / np.where(totals == 0, 1.0, totals)[:, None]
    scores = np.full(n, 1.0 / n)
    for _ in range(rounds):
        scores = (1 - damping) / n + damping * (scores @ transition)
    return scores


def _sentences(call: ToolCall) -> tuple[list[str], int]:
    sentences = sentences_of(call.text("text"))
    sentences = [
        s for s in sentences if s.rstrip("\"'”’)]").endswith((".", "!", "?", "…", "。", "！", "？"))
    ] or sentences
    if not sentences:  # titles, which end without a stop, are no sentences unless there is nothing else
        raise WorkerError("the text has no sentence")
    return sentences, min(call.integer("sentences", 1, 1000), len(sentences))


def _write(call: ToolCall, sentences: list[str], chosen: list[int]) -> dict[str, Any]:
    summary = " ".join(sentences[i] for i in sorted(chosen))
    return {"text": call.write_text(".txt", summary + "\n")}


def _tfidf(sentences: list[str]) -> list[dict[str, float]]:
    counts = [Counter(content_words(sentence)) for sentence in sentences]
    documents = Counter(word for count in counts for word in count)
    n = len(sentences)
    return [{word: c * math.log(1 + n / documents[word]) for word, c in count.items()} for count in counts]


def _cosine(first: dict[str, float] | Counter[str], second: dict[str, float] | Counter[str]) -> float:
    dot = sum(value * second[word] for word, value in first.items() if word in second)
    norm = math.sqrt(sum(v * v for v in first.values()) * sum(v * v for v in second.values()))
    return dot / norm if norm else 0.0
