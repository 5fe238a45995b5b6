"""Instructions as the network takes them: token ids in buckets, segments against a catalog."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import numpy as np

from orchestai_jax.data import Tokenizer, bucket_length
from orchestai_jax.data.tokenizer import MAX_CHARACTERS
from orchestai_jax.planner.compiled import PlanningInputs
from orchestai_jax.planner.evidence_reader import EvidenceReader, Offsets, SegmentArrays, SplitTexts

_BUCKET = 16


class InstructionReader:
    """Reads instructions with a planner's tokenizer, at most `max_tokens` of each."""

    def __init__(self, tokenizer: Tokenizer, max_tokens: int):
        self._tokenizer, self._max_tokens = tokenizer, max_tokens

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids, cut to what is read."""
        return self._tokenizer.encode_batch(texts, self._max_tokens)

    @functools.cached_property
    def _nothing(self) -> frozenset[int]:
        """Ids that stand for no word."""
        return frozenset(self.tokens([""])[0]) | self._tokenizer.unknown_ids

    def offsets(self, text: str) -> Offsets:
        """Where each of the text's tokens stands in it, once cleaned."""
        return self._tokenizer.offsets(text, self._max_tokens)

    def cut_note(self, text: str, token_ids: Sequence[int]) -> tuple[str, ...]:
        """What a plan must say of a text that was not read to its end; `token_ids` are what was read of it."""
        if len(token_ids) < self._max_tokens and len(text) <= MAX_CHARACTERS:
            return ()
        if not self._tokenizer.truncated(text, self._max_tokens):
            return ()
        return (f"only the first {self._max_tokens} tokens of the instruction were read",)

    def unreadable(self, texts: Sequence[str], token_ids: Sequence[Sequence[int]]) -> dict[int, str]:
        """Why a text cannot be planned, by its position."""
        nothing, reasons = self._nothing, {}
        for i, text in enumerate(texts):
            if not text.strip():
                reasons[i] = "the instruction is empty"
            elif not set(token_ids[i]) - nothing or not any(c.isalnum() for c in text):
                reasons[i] = "the instruction holds no words"
        return reasons

    def read(
        self,
        texts: Sequence[str],
        token_ids: Sequence[Sequence[int]],
        evidence: EvidenceReader | None,
        *,
        rows: int | None = None,
        whole_length: bool = False,
    ) -> PlanningInputs:
        """Texts padded to so many rows by repeating the last, and to a bucket of tokens, or with `whole_length` to the
        most that is ever read; with their segments where `evidence` reads them."""
        more = (rows or len(texts)) - len(texts)
        ids, mask = self._padded([*token_ids, *[token_ids[-1]] * more], whole_length)
        segments = None
        if evidence is not None:
            read = evidence.read(texts, [self.offsets(text) for text in texts], ids.shape[1])
            segments = repeated(read, more)
        return PlanningInputs(ids, mask, segments)

    def split(self, texts: Sequence[str], padded_length: int) -> SplitTexts:
        """The texts' segments."""
        return SplitTexts.of(texts, [self.offsets(text) for text in texts], padded_length)

    def _padded(self, rows: Sequence[Sequence[int]], whole_length: bool) -> tuple[np.ndarray, np.ndarray]:
        longest = self._max_tokens if whole_length else max(map(len, rows))
        length = bucket_length(longest, _BUCKET, self._max_tokens)
        ids = np.zeros((len(rows), length), np.int32)
        mask = np.zeros((len(rows), length), bool)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = row
            mask[i, : len(row)] = True
        return ids, mask


def repeated(segments: SegmentArrays, more: int) -> SegmentArrays:
    """With the last row so many times more."""
    return jax.tree.map(lambda x: more_rows(x, more), segments)


def more_rows(x: np.ndarray, more: int) -> np.ndarray:
    """With the last row so many times more."""
    return np.concatenate([x, np.repeat(x[-1:], more, axis=0)]) if more else x
