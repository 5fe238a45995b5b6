"""The segments of training texts, their vectors computed once and kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from orchestai_jax.data import Tokenizer, bucket_length
from orchestai_jax.data.tokenizer import clean_text
from orchestai_jax.planner.description_matcher import Evidence
from orchestai_jax.planner.evidence_reader import EvidenceReader
from orchestai_jax.planner.segments import PADDING, num_segments, split_segments, token_membership

SegmentVectors = Callable[
    [Int[np.ndarray, "batch n"], Bool[np.ndarray, "batch n"], Bool[np.ndarray, "batch S n"]],
    Float[np.ndarray, "batch S hidden"],
]
"""Token ids, mask, and which tokens lie in each segment → the segments' unit vectors."""

_BATCH = 32
_BUCKET = 32


class SegmentedTexts:
    """Texts against one catalog; `evidence` of any of them. What words they share is found anew each time, as it is
    large: segments times task types."""

    def __init__(
        self,
        texts: Sequence[str],
        tokenizer: Tokenizer,
        max_tokens: int,
        reader: EvidenceReader,
        segment_vectors: SegmentVectors,
    ) -> None:
        self._reader = reader
        self._texts = [clean_text(text) for text in texts]
        token_ids = tokenizer.encode_batch(texts, max_tokens)
        offsets = [tokenizer.offsets(text, max_tokens) for text in texts]
        most = num_segments(bucket_length(max_tokens, _BUCKET))
        self._split = [split_segments(text, most) for text in self._texts]
        self._vectors: list[np.ndarray] = [np.zeros(0)] * len(texts)
        self._kinds: list[np.ndarray] = [np.zeros(0)] * len(texts)
        self._starts: list[np.ndarray] = [np.zeros(0)] * len(texts)
        order = sorted(range(len(texts)), key=lambda i: len(token_ids[i]))
        for start in range(0, len(order), _BATCH):
            batch = order[start : start + _BATCH]
            padded = bucket_length(max(len(token_ids[i]) for i in batch), _BUCKET)
            rows = num_segments(padded)
            ids, mask = np.zeros((_BATCH, padded), np.int32), np.zeros((_BATCH, padded), bool)
            mask[len(batch) :, 0] = True  # rows that fill the batch up; softmax wants one real token
            inside = np.zeros((_BATCH, rows, padded), bool)
            for row, i in enumerate(batch):
                ids[row, : len(token_ids[i])], mask[row, : len(token_ids[i])] = token_ids[i], True
                inside[row], self._kinds[i] = token_membership(self._split[i], offsets[i], rows, padded)
            vectors = np.asarray(segment_vectors(ids, mask, inside))
            for row, i in enumerate(batch):
                count = min(len(self._split[i]), rows)
                self._vectors[i], self._kinds[i] = vectors[row, :count], self._kinds[i][:count]
                self._starts[i] = inside[row, :count].argmax(axis=-1)

    def evidence(self, indices: Sequence[int] | np.ndarray, padded_length: int) -> Evidence:
        """The evidence of the texts at `indices`, with the segments that planning looks at in so many tokens."""
        rows = num_segments(padded_length)
        kinds = np.full((len(indices), rows), PADDING, np.int32)
        starts = np.zeros((len(indices), rows), np.int32)
        vectors = np.zeros((len(indices), rows, self._vectors[0].shape[-1]), np.float32)
        for row, i in enumerate(indices):
            count = min(len(self._kinds[i]), rows)
            kinds[row, :count], vectors[row, :count] = self._kinds[i][:count], self._vectors[i][:count]
            starts[row, :count] = self._starts[i][:count]
        split = [self._split[i] for i in indices]
        overlap = self._reader.overlap([self._texts[i] for i in indices], split, kinds)
        return Evidence(jnp.asarray(vectors), jnp.asarray(kinds), jnp.asarray(starts), jnp.asarray(overlap))
