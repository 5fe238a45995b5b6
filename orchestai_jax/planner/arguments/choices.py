"""Values of enumerations and booleans that a stretch of the instruction names, in any of their usual forms."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence
from typing import Any

from orchestai_jax.planner.arguments.lexicon import ASCENDING, DESCENDING, VALUE_SYNONYMS, is_superlative, word_set
from orchestai_jax.planner.arguments.words import Word, parts, squeeze, stem
from orchestai_jax.workflow.catalog import Parameter

_TOWARDS = word_set("to into as in using with by via")
_AWAY = frozenset({"from", "of"})
_NEGATIONS = word_set("no not without never don't dont doesn't disable skip avoid non")
_MOST_WORDS = 3
_MEASURES = word_set("total sum count average mean median maximum minimum")
_FUNCTIONS = word_set("sum total average mean avg median maximum minimum max min highest lowest")
_STOPS = word_set("a an the")


@functools.lru_cache(maxsize=4096)
def _spellings(entry: str) -> tuple[frozenset[str], frozenset[str]]:
    """How an entry may be written: squeezed exactly, and as stems of a word of it."""
    forms = {squeeze(entry), *map(squeeze, VALUE_SYNONYMS.get(entry.lower(), ()))} - {""}
    single = [f for f in (entry, *VALUE_SYNONYMS.get(entry.lower(), ())) if f.isalpha() and len(f) > 3]
    return frozenset(forms), frozenset(stem(f) for f in single)


def find_choice(
    entries: Iterable[Any], words: Sequence[Word], avoid: frozenset[str] = frozenset()
) -> tuple[Any, float, int] | None:
    """The entry of an enumeration that the words name best: (entry, score, position), or None.

    A word after `to`, `as`, `in` … counts more, one after `from` less; an exact form more than a shared stem; between
    equals the later wins (`from PNG to JPEG`). Entries whose plain form is in `avoid` are passed over.
    """
    best: tuple[float, int, Any] | None = None
    entries = [e for e in entries if squeeze(str(e)) not in avoid]
    exact: dict[str, list[tuple[Any, float]]] = {}
    by_stem: dict[str, list[Any]] = {}
    for entry in entries:
        if isinstance(entry, bool) or entry is None:
            continue
        forms, stems = _spellings(str(entry))
        own = squeeze(str(entry))
        for form in forms:
            exact.setdefault(form, []).append((entry, 3.0 if form == own else 2.6))
        for s in stems:
            by_stem.setdefault(s, []).append(entry)
    for i in range(len(words)):
        joined = ""
        cue = next((w.text for w in reversed(words[max(0, i - 2) : i]) if w.text not in _STOPS), "")
        towards = 1.0 if cue in _TOWARDS else -1.5 if cue in _AWAY else -4.0 if cue in _NEGATIONS else 0.0
        for j in range(i, min(i + _MOST_WORDS, len(words))):
            joined += squeeze(words[j].text)
            hits = exact.get(joined, [])
            if j == i and (_orders(words, i) or _is_measured(words, i)):
                hits = []
            elif not hits and j == i:
                hits = [(entry, 2.0) for entry in by_stem.get(words[i].stem, [])]
            for entry, score in hits:
                candidate = (score + towards + 0.1 * (j - i), words[i].start, entry)
                if best is None or candidate[:2] >= best[:2]:
                    best = candidate
    return None if best is None or best[0] <= 0 else (best[2], best[0], best[1])


def _orders(words: Sequence[Word], index: int) -> bool:
    """`highest first` says an order and no maximum."""
    following = words[index + 1].text if index + 1 < len(words) else ""
    return following == "first" and (
        words[index].text in (*DESCENDING, *ASCENDING) or is_superlative(words[index].text)
    )


def _is_measured(words: Sequence[Word], index: int) -> bool:
    """`the mean of count`, `average total`: the second word is what the first one is computed of."""
    if words[index].text not in _MEASURES or index == 0:
        return False
    back = index - 1
    while back > 0 and words[back].text in ("of", "the", "each"):
        back -= 1
    # `the total count` is a count.
    return words[back].text in _FUNCTIONS and (words[back].text != "total" or back < index - 1)


def find_boolean(parameter: Parameter, words: Sequence[Word]) -> tuple[bool, float, int] | None:
    """Whether the words switch a boolean on or off: (value, score, position), or None where they do not speak of it."""
    own = parts(parameter.name)
    name = stem(own[-1]) if own else ""
    if name in (stem("descending"), "desc", "revers", stem("ascending"), "asc"):
        direction = find_direction(words)
        if direction is None:
            return None
        descending, position = direction
        return descending == (name not in (stem("ascending"), "asc")), 3.0, position
    wanted = {stem(w) for w in own if len(w) > 2} - {
        stem(w) for w in ("use", "with", "enable", "include", "keep", "has")
    }
    for i, word in enumerate(words):
        if word.stem not in wanted and squeeze(word.text) != squeeze(parameter.name):
            continue
        negated = bool({w.text for w in words[max(0, i - 2) : i]} & _NEGATIONS) or word.text.startswith("non-")
        following = words[i + 1].text if i + 1 < len(words) else ""
        if following in ("off", "false", "no", "disabled"):
            negated = True
        return not negated, 2.0, word.start
    return None


def find_direction(words: Sequence[Word]) -> tuple[bool, int] | None:
    """The order that the words ask for: (descending, position), the last one named, or None."""
    text = " ".join(w.text for w in words)
    for phrases, descending in (
        (("high to low", "largest to smallest", "highest to lowest", "z to a"), True),
        (("low to high", "smallest to largest", "lowest to highest", "a to z"), False),
    ):
        for phrase in phrases:
            if re.search(rf"\b{phrase}\b", text):
                return descending, words[0].start
    for word in reversed(words):
        if word.text in DESCENDING:
            return True, word.start
        if word.text in ASCENDING:
            return False, word.start
        if is_superlative(word.text):
            return True, word.start
    return None
