"""Features of a span as the value of one parameter: names near it, examples, types, place, likeness."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from orchestai_jax.planner.arguments.clauses import Alignment
from orchestai_jax.planner.arguments.slots import NAME_KINDS, Slot, SlotWords
from orchestai_jax.planner.arguments.spans import SpannedText
from orchestai_jax.planner.arguments.words import content_stems, squeeze

_NEAR = 2.0
"""How many words away a name's nearness falls to 1/e."""
_NOWHERE = 10**6
_COMPARED = 6
"""The first features of a slot are compared with those of the other slots, too."""

PAIR_FEATURES = _COMPARED + 12 + 18 + 10 + 2 + _COMPARED
"""How many features `PairReader.features` gives."""


@dataclasses.dataclass(frozen=True)
class Vectors:
    """Unit vectors that say how alike things are in meaning."""

    spans: Float[np.ndarray, "C d"]
    slots: Float[np.ndarray, "K d"]
    examples: Float[np.ndarray, "K d"]
    """Of the examples of each slot, zero where there are none."""
    sentences: Float[np.ndarray, "N d"]
    tasks: Float[np.ndarray, "J d"]


class PairReader:
    """Features of every span for every slot of one instruction's tasks."""

    def __init__(
        self,
        spanned: SpannedText,
        slots: Sequence[Slot],
        alignment: Alignment,
        vectors: Vectors,
        ruled: Sequence[object],
    ):
        """`ruled`: for each slot the value that the rules give it, or None."""
        self.spanned, self.slots, self.alignment = spanned, slots, alignment
        self.vectors, self.ruled = vectors, ruled
        self._first = np.array([s.first for s in spanned.spans], np.int64)
        self._last = np.array([s.last for s in spanned.spans], np.int64)
        self._sentence = np.array(spanned.sentences, np.int64)
        self._place_of: dict[int, np.ndarray] = {}

    def features(self) -> Float[np.ndarray, "K C Fp"]:
        """Of every slot and span. At least one slot and one span."""
        own = np.stack([self._of_slot(k) for k in range(len(self.slots))])  # [K, C, F]
        rivals = _against_others(own[:, :, :_COMPARED])
        return np.concatenate([own, rivals], axis=2).astype(np.float32)

    def _of_slot(self, k: int) -> Float[np.ndarray, "C F"]:
        words, vectors = self.slots[k].words, self.vectors
        name = self._has(frozenset(words.name))
        head = self._has(frozenset(words.name[-1:]))
        lead = self._has(frozenset(words.name[:1]))
        described = self._has(words.description | words.task)
        exact, near = self._example_matches(words)
        return np.stack(
            [
                self._left(name),
                self._left(head),
                self._right(name),
                vectors.spans @ vectors.slots[k],
                vectors.spans @ vectors.examples[k],
                self._left(lead),
                self._right(lead),
                self._right(head),
                self._left(described),
                self._right(described),
                self._inside(name),
                name[self._last],
                name[self._first],
                head[self._last],
                self._inside(described),
                self._inside(self._has(words.example_stems)),
                exact,
                near,
                *self._kinds(words),
                *self._places(self.slots[k].task),
                *self._ruled(k),
            ],
            axis=1,
        )

    def _has(self, stems: frozenset[str]) -> Bool[np.ndarray, "n"]:
        marked = np.zeros(len(self.spanned.words), bool)
        for stem in stems & self._places_of.keys():
            marked[self._places_of[stem]] = True
        return marked

    @functools.cached_property
    def _places_of(self) -> dict[str, list[int]]:
        """Where each stem stands among the words."""
        places: dict[str, list[int]] = {}
        for k, word in enumerate(self.spanned.words):
            places.setdefault(word.stem, []).append(k)
        return places

    def _left(self, marked: Bool[np.ndarray, "n"]) -> Float[np.ndarray, "C"]:
        """How near before a span (in its sentence) a marked word stands: 1 next to it, 0 nowhere."""
        seen = np.maximum.accumulate(np.where(marked, np.arange(len(marked)), -_NOWHERE))
        before = np.concatenate([[-_NOWHERE], seen[:-1]])[self._first]
        same = (before >= 0) & (self._sentence[np.maximum(before, 0)] == self._sentence[self._first])
        return np.where(same, np.exp(-(self._first - before - 1) / _NEAR), 0.0)

    def _right(self, marked: Bool[np.ndarray, "n"]) -> Float[np.ndarray, "C"]:
        """The same after a span."""
        n = len(marked)
        coming = np.minimum.accumulate(np.where(marked, np.arange(n), _NOWHERE)[::-1])[::-1]
        after = np.concatenate([coming[1:], [_NOWHERE]])[self._last]
        same = (after < n) & (self._sentence[np.minimum(after, n - 1)] == self._sentence[self._last])
        return np.where(same, np.exp(-(after - self._last - 1) / _NEAR), 0.0)

    def _inside(self, marked: Bool[np.ndarray, "n"]) -> Float[np.ndarray, "C"]:
        """Share of a span's words that are marked."""
        total = np.concatenate([[0], np.cumsum(marked)])
        return (total[self._last + 1] - total[self._first]) / (self._last - self._first + 1)

    @functools.cached_property
    def _forms(self) -> list[str]:
        return [squeeze(str(s.value)) for s in self.spanned.spans]

    @functools.cached_property
    def _stems(self) -> list[frozenset[str]]:
        return [content_stems(str(s.value)) for s in self.spanned.spans]

    def _example_matches(self, words: SlotWords) -> tuple[np.ndarray, np.ndarray]:
        """Whether a span is one of the declaration's examples, and whether all its words are those of one."""
        exact = np.array([form in words.example_forms for form in self._forms], np.float32)
        if not words.example_stems:
            return exact, np.zeros_like(exact)
        sets = [content_stems(e) for e in words.examples]
        near = [bool(own) and own <= words.example_stems and any(own <= s for s in sets) for own in self._stems]
        return exact, np.array(near, np.float32)

    @functools.cached_property
    def _looks(self) -> Float[np.ndarray, "C 4"]:
        return np.array([_look(str(s.value)) for s in self.spanned.spans], np.float32)

    @functools.cached_property
    def _marks(self) -> tuple[np.ndarray, ...]:
        """ISO dates, other dates, clock times, numbers, e-mail addresses, files and links, codes with digits."""
        spans = self.spanned.spans
        dated = [s.kind == "date" for s in spans]
        iso = [d and str(s.value)[:4].isdigit() for d, s in zip(dated, spans, strict=True)]
        raw = [d and not i for d, i in zip(dated, iso, strict=True)]
        clock = [s.kind == "time" for s in spans]
        number = [s.kind == "number" for s in spans]
        mail = [s.kind == "address" and "@" in str(s.value) for s in spans]
        file = [s.kind == "address" and "@" not in str(s.value) for s in spans]
        code = [any(c.isdigit() for c in form) for form in self._forms]
        return tuple(np.array(x, np.float32) for x in (iso, raw, clock, number, mail, file, code))

    def _kinds(self, words: SlotWords) -> list[np.ndarray]:
        """How the kind of a span suits what the slot's name speaks of, and how it differs from the examples' looks."""
        iso, raw, clock, number, mail, file, code = self._marks
        kinds = dict(zip((name for name, _ in NAME_KINDS), words.kinds, strict=True))
        capital = self._looks[:, 0]
        if words.examples:
            gap = np.abs(self._looks - np.mean([_look(e) for e in words.examples], axis=0))
        else:
            gap = np.full_like(self._looks, 0.5)
        return [
            iso * words.wants_iso,
            raw * words.wants_iso,
            iso * kinds["date"],
            raw * kinds["date"],
            clock * kinds["time"],
            number * kinds["amount"],
            number * kinds["identifier"],
            code * kinds["identifier"],
            mail * kinds["contact"],
            file * kinds["file"],
            capital * kinds["name"],
            capital * kinds["place"],
            mail * (1 - kinds["contact"]),
            code * kinds["name"],
            *gap.T,
        ]

    def _places(self, task: int) -> np.ndarray:
        """Whether a span stands where the text speaks of a task, [10, C]."""
        if task in self._place_of:
            return self._place_of[task]
        anchor = self.alignment.anchors[task]
        tasks = len(self.alignment.anchors)
        starts = np.array([s.start for s in self.spanned.spans], np.float32)
        owned = np.array([self.alignment.owns(task, s.start) for s in self.spanned.spans], np.float32)
        far = np.zeros_like(starts) if anchor is None else np.clip((starts - anchor) / 200, -1, 1)
        off = (self._first + self._last) / 2 / len(self.spanned.words) - (task + 0.5) / tasks
        to_task = self.vectors.sentences @ self.vectors.tasks.T  # [N, J]
        own, others = to_task[:, task], np.delete(to_task, task, axis=1)
        gap = own - others.max(axis=1) if others.shape[1] else np.full_like(own, 0.3)
        at = self._sentence[self._first]
        self._place_of[task] = np.stack(
            [
                owned,
                far,
                np.abs(far),
                np.full_like(starts, float(anchor is None)),
                off,
                np.abs(off),
                np.full_like(starts, 1 / tasks),
                own[at],
                gap[at],
                (own - own.max())[at],
            ]
        )
        return self._place_of[task]

    def _ruled(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Whether the rules give the slot this span's value, and whether they give it another."""
        given = self.ruled[k]
        if given is None:
            nothing = np.zeros(len(self._forms), np.float32)
            return nothing, nothing
        wanted = squeeze(str(given))
        same = np.array([form == wanted for form in self._forms], np.float32)
        return same, 1 - same


def _against_others(own: Float[np.ndarray, "K C f"]) -> Float[np.ndarray, "K C f"]:
    """How much more of a feature each slot has than the slot that has most of it, itself left out."""
    if len(own) == 1:
        return own.copy()
    order = np.sort(own, axis=0)
    return own - np.where(own >= order[-1], order[-2], order[-1])


def _look(text: str) -> tuple[float, float, float, float]:
    """Capital, digit, number of words, signs inside."""
    return (
        float(text[:1].isupper()),
        float(any(c.isdigit() for c in text)),
        min(len(text.split()), 6) / 6,
        float(any(c in "/_@-:." for c in text)),
    )
