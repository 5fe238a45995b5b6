"""Words of an instruction with their positions, and a stem that makes their forms meet."""

from __future__ import annotations

import dataclasses
import functools
import re

from orchestai_jax.planner.arguments.lexicon import STOP_WORDS, SYNONYMS

_WORD = re.compile(r"\w+(?:[-'’]\w+)*")
_PARTS = re.compile(r"[a-z]+|[0-9]+|[^\W\da-z_]+")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_SUFFIXES = (
    *("izations", "isations", "ization", "isation", "izing", "ising", "ized", "ised", "izes", "ises", "izer", "iser"),
    *("ize", "ise", "ings", "ing", "ions", "ion", "ies", "ied", "aries", "ers", "er", "ed", "es", "s", "e", "y"),
)
_MIN_STEM = 3


@dataclasses.dataclass(frozen=True, slots=True)
class Word:
    """A word of the instruction: `text` in lower case, [`start`, `end`) in characters, and its stem."""

    start: int
    end: int
    text: str
    stem: str


def find_words(text: str) -> tuple[Word, ...]:
    """The words of a text in order; hyphens and apostrophes inside a word belong to it. Linear in the text."""
    found = []
    for match in _WORD.finditer(text):
        lower = match.group().lower()
        found.append(Word(match.start(), match.end(), lower, stem(lower)))
    return tuple(found)


@functools.lru_cache(maxsize=65536)
def stem(word: str) -> str:
    """A crude English stem: `Blurred`, `blurring`, `blurry` → `blur`; British and American spellings meet."""
    word = word.lower().replace("grey", "gray")
    if word.endswith(("'s", "’s")):
        word = word[:-2]
    if len(word) > 40:
        return word
    word = re.sub(r"ou(?=r(?:s|ed|ing)?$)", "o", word)
    if word.endswith(("ss", "us", "is")):
        return word
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= _MIN_STEM:
            word = word[: -len(suffix)]
            break
    if len(word) > _MIN_STEM and word[-1] == word[-2] and word[-1] not in "aeious":
        word = word[:-1]
    return word


def stem_set(words: str) -> frozenset[str]:
    """Stems of the words of a text separated by blanks."""
    return frozenset(map(stem, words.split()))


def parts(identifier: str) -> tuple[str, ...]:
    """`groupBy`, `group_by`, `group-by` → ("group", "by")."""
    return tuple(_PARTS.findall(_CAMEL.sub(" ", identifier).lower()))


@functools.lru_cache(maxsize=65536)
def content_stems(text: str) -> frozenset[str]:
    """Stems of the words of a text that carry content."""
    return frozenset(stem(w) for w in parts(text) if w not in STOP_WORDS and len(w) > 1)


@functools.cache
def _synonym_groups() -> dict[str, frozenset[str]]:
    table: dict[str, set[str]] = {}
    for group in SYNONYMS:
        stems = {stem(w) for w in group.split()}
        for s in stems:
            table.setdefault(s, set()).update(stems)
    return {s: frozenset(others) for s, others in table.items()}


def synonyms(stemmed: str) -> frozenset[str]:
    """Stems that stand for the same thing, itself among them."""
    return _synonym_groups().get(stemmed, frozenset({stemmed}))


def squeeze(text: str) -> str:
    """Only letters and digits, lower case: `SHA-256` → `sha256`, `JSON lines` → `jsonlines`."""
    return "".join(c for c in text.lower() if c.isalnum())
