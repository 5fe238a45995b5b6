"""How many words of a task type's name and description a text shares, weighted by how rare they are in the catalog."""

from __future__ import annotations

import collections
import re
from collections.abc import Sequence

import numpy as np
import scipy.sparse
from jaxtyping import Float

from orchestai_jax.workflow import Catalog

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
        self._size = len(catalog.task_types)
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

    def overlap(self, texts: Sequence[str]) -> Float[np.ndarray, "n T 3"]:
        """The three shares of each text with each task type, in [0, 1]."""
        found = [stems(text) for text in texts]
        held = self._matrix(found).multiply(self._idf).tocsr()
        mass = np.array([sum(self._weight(w) for w in words) for words in found], np.float32)
        shares = np.empty((len(texts), self._size, OVERLAPS), np.float32)
        shares[..., 0] = (held @ self._names.T).toarray() / self._name_mass
        shares[..., 1] = (held @ self._descriptions.T).toarray() / self._description_mass
        shares[..., 2] = (held @ self._both.T).toarray() / np.maximum(mass, 1e-6)[:, None]
        return shares

    def _weight(self, word: str) -> float:
        column = self._columns.get(word)
        return self._unknown if column is None else float(self._idf[column])

    def _matrix(self, texts: Sequence[set[str]]) -> scipy.sparse.csr_array:
        """Which of the catalog's words each text holds: [texts, words], ones."""
        known = [sorted(self._columns[w] for w in words if w in self._columns) for words in texts]
        ends = np.cumsum([0, *map(len, known)])
        columns = np.array([c for row in known for c in row], np.int32)
        ones = np.ones(len(columns), np.float32)
        return scipy.sparse.csr_array((ones, columns, ends), shape=(len(texts), len(self._columns)))


def stems(text: str) -> set[str]:
    """The words of a text or an identifier, in lower case, cut to five letters; ideographs one by one."""
    spaced = _IDEOGRAPH.sub(r" \1 ", _CASE.sub(" ", text))
    return {word[:_STEM] for word in _WORD.findall(spaced.lower())}
