"""Unit vectors of words and short texts: means of the encoder's frozen token embedding, without a pass through it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from orchestai_jax.data import Tokenizer

MAX_TOKENS = 512
"""What a text holds beyond this many tokens has no vectors."""
_SHORT = 64
_KEPT = 50_000
"""Texts whose vectors are kept."""


class WordVectors:
    """Vectors of texts and of stretches of a text, from a table with one row a token."""

    def __init__(self, table: Float[np.ndarray, "vocabulary d"], tokenizer: Tokenizer):
        self._table, self._tokenizer = table, tokenizer
        self._mean = np.asarray(table.mean(axis=0), np.float32)  # token embeddings share a direction that says nothing
        self._specials = set(tokenizer.encode_batch([""], MAX_TOKENS)[0])
        self._kept: dict[str, np.ndarray] = {}

    @property
    def width(self) -> int:
        """Numbers in a vector."""
        return self._table.shape[1]

    def of(self, text: str) -> Float[np.ndarray, "d"]:
        """The vector of a short text; zero for one without tokens."""
        if text not in self._kept:
            if len(self._kept) >= _KEPT:
                self._kept.clear()
            ids = [i for i in self._tokenizer.encode_batch([text], _SHORT)[0] if i not in self._specials]
            self._kept[text] = unit(self._rows(ids).mean(axis=0)) if ids else np.zeros(self.width, np.float32)
        return self._kept[text]

    def mean_of(self, texts: Sequence[str]) -> Float[np.ndarray, "d"]:
        """The unit vector of the mean of several texts' vectors; zero for none."""
        return unit(np.mean([self.of(t) for t in texts], axis=0)) if texts else np.zeros(self.width, np.float32)

    def stretches(self, text: str, bounds: Sequence[tuple[int, int]]) -> Float[np.ndarray, "n d"]:
        """The vectors of stretches [start, end) of a cleaned text; zero for one beyond the tokens that are read."""
        ids = self._tokenizer.encode_batch([text], MAX_TOKENS)[0]
        offsets = self._tokenizer.offsets(text, MAX_TOKENS)
        kept = [(i, o) for i, o in zip(ids, offsets, strict=True) if o[1] > o[0]]
        if not kept or not bounds:
            return np.zeros((len(bounds), self.width), np.float32)
        rows = self._rows([i for i, _ in kept])
        sums = np.concatenate([np.zeros((1, self.width), np.float32), np.cumsum(rows, axis=0)])
        starts, ends = (np.array(x) for x in zip(*(o for _, o in kept), strict=True))
        first = np.searchsorted(ends, [start for start, _ in bounds], side="right")
        last = np.maximum(np.searchsorted(starts, [end for _, end in bounds], side="left"), first)
        return unit((sums[last] - sums[first]) / np.maximum(last - first, 1)[:, None])

    def _rows(self, ids: Sequence[int]) -> Float[np.ndarray, "n d"]:
        return np.asarray(self._table[np.array(ids, np.int64)], np.float32) - self._mean


def unit(vectors: Float[np.ndarray, "*n d"]) -> Float[np.ndarray, "*n d"]:
    """Scaled to length 1; zero stays zero."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)
