"""A catalog cut down to the task types that an instruction is likely to want, so that a prompt can hold it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping

from orchestai_jax.workers.words import content_words
from orchestai_jax.workflow import Catalog

_K1, _B = 1.2, 0.75
"""Saturation of a word's count and weight of the length, the usual values."""


def bm25_scores(text: str, catalog: Catalog) -> dict[str, float]:
    """How well the words of each task type match the words of a text, highest first, catalog order among equals.

    Okapi BM25 (Robertson et al., 1994) with the never negative idf ln(1 + (N - n + 0.5) / (n + 0.5)); a task type's
    words are those of its id, its description and the names of its inputs and parameters, without stop words and
    plural endings.
    """
    documents = {
        task_type.id: Counter(
            content_words(
                " ".join([task_type.text, *(slot.name for slot in (*task_type.inputs, *task_type.parameters))])
            )
        )
        for task_type in catalog.task_types
    }
    mean_length = sum(words.total() for words in documents.values()) / max(len(documents), 1) or 1.0
    holding = Counter(word for words in documents.values() for word in words)
    idf = {word: math.log(1 + (len(documents) - n + 0.5) / (n + 0.5)) for word, n in holding.items()}
    asked = content_words(text)

    def score(words: Counter[str]) -> float:
        norm = _K1 * (1 - _B + _B * words.total() / mean_length)
        return sum(idf[w] * words[w] * (_K1 + 1) / (words[w] + norm) for w in asked if w in words)

    scores = {name: score(words) for name, words in documents.items()}
    return dict(sorted(scores.items(), key=lambda entry: -entry[1]))  # stable


def narrow(catalog: Catalog, wanted: Iterable[str], scores: Mapping[str, float], most: int) -> Catalog:
    """The catalog with at most `most` task types: those `wanted` first, then those of the highest scores.

    Task types stay in catalog order, with the workers that can do them and the links between them. Raises ValueError
    where `most` is below 1.
    """
    if most < 1:
        raise ValueError(f"most is {most}; it must be at least 1")
    ranked = sorted(scores, key=lambda name: -scores[name])
    names = [name for name in dict.fromkeys([*wanted, *ranked]) if name in catalog.index]
    kept = set(names[:most])
    workers = (
        worker.model_copy(update={"task_types": tuple(t for t in worker.task_types if t in kept)})
        for worker in catalog.workers
    )
    return Catalog(
        name=catalog.name,
        task_types=tuple(task_type for task_type in catalog.task_types if task_type.id in kept),
        workers=tuple(worker for worker in workers if worker.task_types),
        links=tuple(link for link in catalog.links if link.source in kept and link.target in kept),
    )
