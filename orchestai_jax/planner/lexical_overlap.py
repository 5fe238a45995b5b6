"""How many words of a task type's name and description a text shares, weighted by how rare they are in the catalog."""

from __future__ import annotations

import collections
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from orchestai_jax.workflow import Catalog

if TYPE_CHECKING:
    import scipy.sparse

OVERLAPS = 3
"""Shares of the name's words that the text holds, of the description's, and of the text's that either holds."""

_STEM = 5
_CASE = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_WORD = re.compile(r"[^\W_]+")
_IDEOGRAPH = re.compile("([\u3040-\u30ff\u3400-\u9fff])")


class Lexicon:
    """The words of a catalog of T task types.

    A word weighs log((1 + T) / (1 + df)) + 1, with df the number of types whose name or description holds it (Sparck
    Jones 1972, as scikit-learn smooths it); words are compared by their first five letters.
    """

    def __init__(self, catalog: Catalog):
        self.size = len(catalog.task_types)
        names = [stems(t.id) for t in catalog.task_types]
        descriptions = [stems(t.description or "") for t in catalog.task_types]
        both = [a | b for a, b in zip(names, descriptions, strict=True)]
        frequency = collections.Counter(word for words in both for word in words)
        self._columns = {word: i for i, word in enumerate(sorted(frequency))}
        counts = np.array([frequency[word] for word in self._columns], np.float32)
        self._idf = np.log((1 + len(both)) / (1 + counts)) + 1
        self._unknown = float(np.log(1 + len(both)) + 1)
        self._names, self._descriptions, self._both = (self._matrix(x) for x in (names, descriptions, both))
        self._name_mass = np.maximum(self._names @ self._idf, 1e-6)
        self._description_mass = np.maximum(self._descriptions @ self._idf, 1e-6)

    def overlap(self, texts: Sequence[str], types: Int[np.ndarray, "C"] | None = None) -> Float[np.ndarray, "n C 3"]:
        """The three shares of each text with each task type (those at the positions `types`; None: all), in [0, 1]."""
        found = [stems(text) for text in texts]
        held = self._matrix(found).multiply(self._idf).tocsr()
        mass = np.array([sum(self._weight(w) for w in words) for words in found], np.float32)
        of_types = (self._names, self._descriptions, self._both, self._name_mass, self._description_mass)
        if types is not None:
            of_types = tuple(x[types] for x in of_types)
        names, descriptions, both, name_mass, description_mass = of_types
        shares = np.empty((len(texts), len(name_mass), OVERLAPS), np.float32)
        shares[..., 0] = (held @ names.T).toarray() / name_mass
        shares[..., 1] = (held @ descriptions.T).toarray() / description_mass
        shares[..., 2] = (held @ both.T).toarray() / np.maximum(mass, 1e-6)[:, None]
        return shares

    def weighted(self, weights: Sequence[float]) -> WeightedOverlap:
        """The sums of the three shares, each times its weight, over all task types."""
        return WeightedOverlap(self, weights)

    def _weight(self, word: str) -> float:
        column = self._columns.get(word)
        return self._unknown if column is None else float(self._idf[column])

    def _matrix(self, texts: Sequence[set[str]]) -> scipy.sparse.csr_array:
        """Which of the catalog's words each text holds: [texts, words], ones."""
        import scipy.sparse  # not every planner matches words

        known = [sorted(self._columns[w] for w in words if w in self._columns) for words in texts]
        ends = np.cumsum([0, *map(len, known)])
        columns = np.array([c for row in known for c in row], np.int32)
        ones = np.ones(len(columns), np.float32)
        return scipy.sparse.csr_array((ones, columns, ends), shape=(len(texts), len(self._columns)))


class WeightedOverlap:
    """`overlap(texts) @ weights` of a lexicon, without the array of three shares: by the types that hold each word (an
    inverted file), so that words of the texts alone cost anything."""

    def __init__(self, lexicon: Lexicon, weights: Sequence[float]):
        by_name = lexicon._names.multiply((weights[0] / lexicon._name_mass)[:, None])
        by_description = lexicon._descriptions.multiply((weights[1] / lexicon._description_mass)[:, None])
        self._lexicon, self._weight_of_text = lexicon, weights[2]
        self._by_type = (by_name + by_description).T.tocsr()
        self._both = lexicon._both.T.tocsr()

    def __call__(self, texts: Sequence[str]) -> Float[np.ndarray, "n T"]:
        """The sums of each text with each task type."""
        lexicon = self._lexicon
        found = [stems(text) for text in texts]
        words = sorted({w for words in found for w in words if w in lexicon._columns})
        columns = np.array([lexicon._columns[w] for w in words], np.int64)
        held = np.array([[w in words_of for words_of in found] for w in words], np.float32).reshape(-1, len(texts))
        held *= lexicon._idf[columns][:, None]
        mass = np.array([sum(lexicon._weight(w) for w in words) for words in found], np.float32)
        of_text = held * (self._weight_of_text / np.maximum(mass, 1e-6))
        return np.asarray(self._by_type[columns].T @ held + self._both[columns].T @ of_text, np.float32).T


def stems(text: str) -> set[str]:
    """The words of a text or an identifier, in lower case, cut to five letters; ideographs one by one."""
    spaced = _IDEOGRAPH.sub(r" \1 ", _CASE.sub(" ", text))
    return {word[:_STEM] for word in _WORD.findall(spaced.lower())}
