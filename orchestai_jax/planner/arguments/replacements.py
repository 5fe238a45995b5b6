"""What is to be replaced by what: `replace A with B`, `A instead of B`, `write A wherever it says B`."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

from orchestai_jax.planner.arguments.lexicon import STOP_WORDS, word_set
from orchestai_jax.planner.arguments.mentions import MAX_MENTIONS, Mention
from orchestai_jax.planner.arguments.reading import Reading
from orchestai_jax.planner.arguments.words import Word

Pair = tuple[Mention, Mention | None]
"""(what, by what); the second is None where it is not said."""

_REPLACE = re.compile(r"\b(?:replac\w*|substitut\w*|swap\w*|chang\w*|renam\w*|turn(?:ing)?|exchang\w*)\b")
_BETWEEN = word_set("with by to into for")
_FILLERS = word_set(
    "the a an all every each any word words phrase string text occurrence occurrences instance "
    "instances of term name mention mentions"
)
_INSTEAD = re.compile(r"\b(?:instead\s+of|in\s+(?:the\s+)?place\s+of|in\s+lieu\s+of|rather\s+than)\b")
_WHEREVER = re.compile(
    r"\b(?:wherever|everywhere|anywhere|whenever|where|in\s+every\s+place|in\s+all\s+places|"
    r"each\s+time|every\s+time|any\s+time)\b"
)
_WRITE = re.compile(r"\b(?:say|says|saying|read|reads|use|using|put|putting|write|writing|insert|have|want|print)\b")
_SHOULD = re.compile(
    r"\b(?:should|must|shall|has\s+to|have\s+to|needs?\s+to|ought\s+to)\s+(?:\w+\s+)?(?:be|become|read|say)\b"
    r"|\b(?:becomes|is\s+now|should\s+have\s+been)\b"
)
_NOT = re.compile(r"(?:,|\band\b)\s+(?:and\s+)?not\b")
_ENDS = re.compile(r"[.;!?\n]")


def replacements(reading: Reading) -> list[Pair]:
    """Every replacement that a text asks for, those with a written-out `instead of` or `wherever` first."""
    return [*_turned(reading), *_said(reading), *_should(reading)]


def _said(reading: Reading) -> list[Pair]:
    """`replace A with B`, `change A to B`, `swap A for B`; `substitute A for B` names the new one first."""
    found: list[Pair] = []
    for match in itertools.islice(_REPLACE.finditer(reading.masked), MAX_MENTIONS):
        pair = _pair(reading, match.end(), turned=match.group().startswith("substitut"))
        if pair is not None:
            found.append(pair)
    return found


def _turned(reading: Reading) -> list[Pair]:
    """`write A instead of B`, `use A wherever it says B`: the new one stands first, or after `instead of B, write`."""
    found: list[Pair] = []
    for match in itertools.islice(_INSTEAD.finditer(reading.masked), MAX_MENTIONS):
        old = _right(reading, match.end())
        new = _left(reading, match.start()) if old is not None else None
        if old is not None and new is None:
            new = _written_after(reading, old.end)
        if old is not None and new is not None:
            found.append((old, new))
    for match in itertools.islice(_WHEREVER.finditer(reading.masked), MAX_MENTIONS):
        old = _quoted_after(reading, match.end())
        new = _left(reading, match.start(), anywhere=False) if old is not None else None
        if old is not None and new is None:
            new = _written_after(reading, old.end)
        if old is not None and new is not None:
            found.append((old, new))
    for match in itertools.islice(_NOT.finditer(reading.masked), MAX_MENTIONS):
        old, new = _adjacent(reading, match.end(), after=True), _adjacent(reading, match.start(), after=False)
        if old is not None and new is not None:
            found.append((old, new))
    return found


def _should(reading: Reading) -> list[Pair]:
    """`every "A" should read "B"`, `it says "A" but it must say "B"`: both in quotes."""
    found: list[Pair] = []
    for match in itertools.islice(_SHOULD.finditer(reading.masked), MAX_MENTIONS):
        new, old = _quoted_after(reading, match.end()), _quoted_before(reading, match.start())
        if old is not None and new is not None:
            found.append((old, new))
    return found


def _pair(reading: Reading, position: int, turned: bool) -> Pair | None:
    index = reading.item_index(position)
    items = reading.items[index : index + 14]
    joint = next((k for k, item in enumerate(items) if isinstance(item, Word) and item.text in _BETWEEN), None)
    arrow = re.search(r"->|→|=>", reading.text[position : position + 80])
    if joint is None and arrow is None:
        return None
    if joint is None:
        assert arrow is not None
        left = [i for i in items if i.start < position + arrow.start()]
        right = [i for i in items if i.start >= position + arrow.end()]
    else:
        left, right = list(items[:joint]), list(items[joint + 1 :])
    if any(_breaks(reading, a.end, b.start) for a, b in itertools.pairwise(left)):
        return None
    old, new = _side(reading, left, whole=True), _side(reading, right, whole=False)
    if old is None or (old.kind != "quoted" and (new is None or len(old.text.split()) > 3)):
        return None
    between = items[joint] if joint is not None else None
    if turned and new is not None and isinstance(between, Word) and between.text == "for":
        return new, old
    return old, new


def _breaks(reading: Reading, start: int, end: int) -> bool:
    return any(c in reading.masked[start:end] for c in ".;!?\n,")


def _side(reading: Reading, items: Sequence[Word | Mention], whole: bool) -> Mention | None:
    items = list(items)
    quoted = next((i for i in items[:8] if isinstance(i, Mention) and i.kind == "quoted"), None)
    while items and isinstance(items[0], Word) and items[0].text in _FILLERS:
        items.pop(0)
    if quoted is not None and (whole or (items and items[0] is quoted)):
        return quoted
    if not items:
        return None
    if isinstance(items[0], Mention):
        first = items[0]
        return first if first.kind in ("url", "email", "date", "number") else None
    words: list[Word] = []
    for item in items:
        if not isinstance(item, Word) or item.text in ("in", "inside", "within", "from", "throughout", "and", "then"):
            break
        if words and _breaks(reading, words[-1].end, item.start):
            break
        if words and not whole and not reading.text[item.start].isupper():
            break
        words.append(item)
    return _as_mention(reading, words)


def _as_mention(reading: Reading, words: Sequence[Word]) -> Mention | None:
    if not words:
        return None
    start, end = words[0].start, words[-1].end
    return Mention("quoted", start, end, reading.text[start:end])


# around a joint such as `instead of`


def _right(reading: Reading, position: int) -> Mention | None:
    """What follows `instead of`: quoted, a name, or one word that is no stop word."""
    index = reading.item_index(position)
    items = list(reading.items[index : index + 8])
    while items and isinstance(items[0], Word) and items[0].text in _FILLERS:
        items.pop(0)
    if not items or _breaks(reading, position, items[0].start):
        return None
    if isinstance(items[0], Word) and items[0].text in STOP_WORDS:
        return None
    return _side(reading, items, whole=False)


def _left(reading: Reading, position: int, anywhere: bool = True) -> Mention | None:
    """What is written before `instead of`: the nearest quoted text of the sentence, else what follows `say`, `use` …"""
    index = reading.item_index(position)
    reached = position
    words: list[Word] = []
    for item in reversed(reading.items[max(0, index - 12) : index]):
        if _ENDS.search(reading.masked[item.end : reached]):
            break
        reached = item.start
        if isinstance(item, Mention):
            if item.kind == "quoted":
                return item
            words.clear()  # `use tea in recipe.txt instead of coffee`
            continue
        if _WRITE.fullmatch(item.text):
            run = list(reversed(words))
            while run and run[0].text in _FILLERS | {"it", "in", "should"}:
                run.pop(0)
            following = next((k for k, w in enumerate(run) if w.text in STOP_WORDS), len(run))
            run = run[:following]
            plain = len(run) == 1 or (len(run) <= 3 and all(reading.text[w.start].isupper() for w in run))
            return _as_mention(reading, run) if plain and anywhere else None
        words.append(item)
    return None


def _written_after(reading: Reading, position: int) -> Mention | None:
    """`instead of B it should say A`, `where it says B, put A`: quoted, or one word."""
    index = reading.item_index(position)
    reached = position
    for item in reading.items[index : index + 10]:
        if _ENDS.search(reading.masked[reached : item.start]):
            return None
        reached = item.end
        if isinstance(item, Word) and _WRITE.fullmatch(item.text):
            return _right(reading, item.end)
        if isinstance(item, Mention) and item.kind == "quoted":
            return None
    return None


def _quoted_before(reading: Reading, position: int) -> Mention | None:
    index = reading.item_index(position)
    reached = position
    for item in reversed(reading.items[max(0, index - 10) : index]):
        if _ENDS.search(reading.masked[item.end : reached]):
            return None
        if isinstance(item, Mention) and item.kind == "quoted":
            return item
        reached = item.start
    return None


def _quoted_after(reading: Reading, position: int) -> Mention | None:
    index = reading.item_index(position)
    reached = position
    for item in reading.items[index : index + 10]:
        if _ENDS.search(reading.masked[reached : item.start]):
            return None
        if isinstance(item, Mention) and item.kind == "quoted":
            return item
        reached = item.end
    return None


def _adjacent(reading: Reading, position: int, after: bool) -> Mention | None:
    """The quoted text that directly follows (or precedes) a position."""
    index = reading.item_index(position)
    if after:
        item = reading.items[index] if index < len(reading.items) else None
        gap = reading.masked[position : item.start] if item is not None else ""
    else:
        item = reading.items[index - 1] if index else None
        gap = reading.masked[item.end : position] if item is not None else ""
    return item if isinstance(item, Mention) and item.kind == "quoted" and not gap.strip() else None
