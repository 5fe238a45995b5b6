"""An instruction as the rules read it: its words and its literal mentions in one sequence of items."""

from __future__ import annotations

import bisect
import dataclasses
import functools

from orchestai_jax.planner.arguments.mentions import MASK, Mention, find_literals
from orchestai_jax.planner.arguments.quantities import find_quantities
from orchestai_jax.planner.arguments.words import Word, find_words

Item = Word | Mention

_SENTENCE_END = frozenset(".!?;\n")

# Positions must stay, so only ASCII is brought to lower case (`İ`.lower() is two characters).
_ASCII_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


@dataclasses.dataclass(frozen=True)
class Reading:
    """Text, its words outside mentions, its mentions, and the text masked and in ASCII lower case (same length)."""

    text: str
    masked: str
    words: tuple[Word, ...]
    mentions: tuple[Mention, ...]

    @functools.cached_property
    def items(self) -> tuple[Item, ...]:
        """Words and mentions in order."""
        return tuple(sorted([*self.words, *self.mentions], key=lambda item: item.start))

    @functools.cached_property
    def _starts(self) -> list[int]:
        return [item.start for item in self.items]

    def item_index(self, position: int) -> int:
        """Index of the first item that starts at or after `position`."""
        return bisect.bisect_left(self._starts, position)

    def gap(self, index: int) -> str:
        """The characters between item `index` - 1 and item `index`."""
        before = self.items[index - 1].end if index > 0 else 0
        return self.text[before : self.items[index].start]

    @functools.cached_property
    def _neighbours(self) -> dict[tuple[int, int], list[Word]]:
        return {}

    def words_before(self, position: int, count: int) -> list[Word]:
        """The `count` words that end before `position`, nearest first; a sentence's end stops."""
        key = (position, -count)
        if key not in self._neighbours:
            self._neighbours[key] = self._words_before(position, count)
        return self._neighbours[key]

    def words_after(self, position: int, count: int) -> list[Word]:
        """The `count` words that start at or after `position`, nearest first; a comma or a sentence's end stops."""
        key = (position, count)
        if key not in self._neighbours:
            self._neighbours[key] = self._words_after(position, count)
        return self._neighbours[key]

    def words_in(self, start: int, end: int, most: int) -> list[Word]:
        """The words that start in [`start`, `end`), `most` at most."""
        first = bisect.bisect_left(self._word_starts, start)
        last = bisect.bisect_left(self._word_starts, end)
        return list(self.words[first : min(last, first + most)])

    @functools.cached_property
    def _word_starts(self) -> list[int]:
        return [word.start for word in self.words]

    def _words_before(self, position: int, count: int) -> list[Word]:
        found: list[Word] = []
        index = self.item_index(position) - 1
        reached = position
        while index >= 0 and len(found) < count:
            item = self.items[index]
            if _ends_sentence(self.masked[item.end : reached]):
                break
            if isinstance(item, Word):
                found.append(item)
            reached = item.start
            index -= 1
        return found

    def _words_after(self, position: int, count: int) -> list[Word]:
        found: list[Word] = []
        index = self.item_index(position)
        reached = position
        while index < len(self.items) and len(found) < count:
            item = self.items[index]
            between = self.masked[reached : item.start]
            if _ends_sentence(between) or "," in between:
                break
            if isinstance(item, Word):
                found.append(item)
            reached = item.end
            index += 1
        return found


def _ends_sentence(between: str) -> bool:
    return not _SENTENCE_END.isdisjoint(between)


def read(text: str) -> Reading:
    """Read an instruction. Linear in the text."""
    literals, masked = find_literals(text)
    masked = masked.translate(_ASCII_LOWER)
    numbers = find_quantities(masked)
    pieces, at = [], 0
    for number in numbers:
        pieces += [masked[at : number.start], MASK * (number.end - number.start)]
        at = number.end
    masked = "".join([*pieces, masked[at:]])
    mentions = tuple(sorted([*literals, *numbers], key=lambda m: m.start))
    return Reading(text, masked, find_words(masked), mentions)
