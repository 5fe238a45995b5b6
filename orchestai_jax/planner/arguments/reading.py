"""An instruction as the rules read it: its words and its literal mentions in one sequence of items."""

from __future__ import annotations

import bisect
import dataclasses
import functools

from orchestai_jax.planner.arguments.mentions import MASK, Mention, find_literals
from orchestai_jax.planner.arguments.quantities import find_quantities
from orchestai_jax.planner.arguments.words import Word, find_words

Item = Word | Mention


@dataclasses.dataclass(frozen=True)
class Reading:
    """Text, its words outside mentions, its mentions, and the text with every mention masked (same length)."""

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

    def words_before(self, position: int, count: int) -> list[Word]:
        """The `count` words that end before `position`, nearest first; a sentence's end stops."""
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

    def words_after(self, position: int, count: int) -> list[Word]:
        """The `count` words that start at or after `position`, nearest first; a comma or a sentence's end stops."""
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
    return any(c in between for c in ".!?;\n")


def read(text: str) -> Reading:
    """Read an instruction. Linear in the text."""
    literals, masked = find_literals(text)
    numbers = find_quantities(masked)
    pieces, at = [], 0
    for number in numbers:
        pieces += [masked[at : number.start], MASK * (number.end - number.start)]
        at = number.end
    masked = "".join([*pieces, masked[at:]])
    mentions = tuple(sorted([*literals, *numbers], key=lambda m: m.start))
    return Reading(text, masked, find_words(masked), mentions)
