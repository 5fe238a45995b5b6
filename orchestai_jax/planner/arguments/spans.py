"""Spans of an instruction that may be the value of a parameter: phrases, quoted text, numbers, dates, lists."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from orchestai_jax.planner.arguments.lexicon import NUMBER_WORDS, word_set
from orchestai_jax.planner.arguments.mentions import find_literals
from orchestai_jax.planner.arguments.words import stem
from orchestai_jax.planner.arguments.written_dates import find_dates, find_times

SpanKind = Literal["phrase", "singular", "quoted", "number", "date", "time", "address", "list"]
KINDS: tuple[SpanKind, ...] = ("phrase", "singular", "quoted", "number", "date", "time", "address", "list")

MAX_WORDS = 256
"""Words beyond this many are not looked at."""
MAX_SPANS = 256
_LONGEST = (8, 5, 3, 2)
"""Words in a phrase without quotes; fewer where there would be too many spans."""

_WORD = re.compile(r"\S+")
_OPENERS = "([{<\"'“”‘’`«„*"
_CLOSERS = ".,;:!?)]}>\"'“”‘’`»*"
_NUMBER = re.compile(r"[-+]?[$€£¥]?\d[\d,]*(?:\.\d+)?|[-+]?[$€£¥]?\.\d+")
_SCALES = {"hundred": 1e2, "thousand": 1e3, "k": 1e3, "million": 1e6, "m": 1e6, "billion": 1e9, "bn": 1e9}
NO_START = word_set(
    "a an the of in on at to for from by with and or but is are was were be been being has have had do does did will "
    "would can could should may might must shall i you he she it we they me him her us them my your his its our their "
    "this that these those which who whom whose what when where why how if as than then there here not no please also "
    "while after before once so such into onto about during within between"
)
"""Function words that no value begins with."""
NO_END = NO_START | word_set("up out off over under per via using named called titled any some each every all both")


@dataclasses.dataclass(frozen=True, slots=True)
class SpanWord:
    """A word without the punctuation around it, [`start`, `end`) in characters."""

    start: int
    end: int
    text: str
    lower: str
    stem: str
    breaks: bool
    """Whether a sentence (or a semicolon, a bracket, a quotation) ends between it and the next word."""
    comma: bool
    """Whether a comma follows."""
    opens: bool
    """Whether it is the first of a sentence."""


@dataclasses.dataclass(frozen=True, slots=True)
class Span:
    """A candidate: words [`first`, `last`] of the instruction, and the value that they stand for."""

    first: int
    last: int
    start: int
    end: int
    value: Any
    kind: SpanKind


@dataclasses.dataclass(frozen=True)
class SpannedText:
    """An instruction's words, and the spans that may be values."""

    text: str
    words: tuple[SpanWord, ...]
    spans: tuple[Span, ...]

    @functools.cached_property
    def sentences(self) -> tuple[int, ...]:
        """For each word the number of its sentence."""
        numbers, at = [], -1
        for word in self.words:
            at += word.opens
            numbers.append(max(at, 0))
        return tuple(numbers)

    @property
    def sentence_bounds(self) -> list[tuple[int, int]]:
        """For each sentence where its words begin and end."""
        bounds: dict[int, tuple[int, int]] = {}
        for word, number in zip(self.words, self.sentences, strict=True):
            bounds[number] = (bounds.get(number, (word.start, 0))[0], word.end)
        return [bounds[number] for number in sorted(bounds)]


def read_spans(text: str) -> SpannedText:
    """The words of a text, and the spans among them that may be values: at most MAX_SPANS of its first MAX_WORDS."""
    end = len(text)
    for k, match in enumerate(_WORD.finditer(text)):
        if k == MAX_WORDS:
            end = match.start()
            break
    text = text[:end]
    mentions, _ = find_literals(text)
    quoted = [
        (m.start, m.end, m.text)
        for m in mentions
        if m.kind == "quoted" or (m.kind == "file" and m.end - m.start > len(m.text))
    ]
    quoted += _unclosed(text, quoted)
    words = _words(text, [(start, stop) for start, stop, _ in quoted])
    if not words:
        return SpannedText(text, (), ())
    at = _WordIndex(words)
    spans = [Span(*at.of(start, stop), start, stop, value, "quoted") for start, stop, value in quoted]
    spans += [
        Span(*at.of(m.start, m.end), m.start, m.end, m.text, "address")
        for m in mentions
        if m.kind in ("url", "email") or (m.kind == "file" and m.end - m.start == len(m.text))
    ]
    dates = find_dates(text)
    for start, stop, iso in dates:
        if iso is not None and iso != text[start:stop]:
            spans.append(Span(*at.of(start, stop), start, stop, iso, "date"))
        spans.append(Span(*at.of(start, stop), start, stop, text[start:stop], "date"))
    for start, stop, clock in find_times(text):
        if clock != text[start:stop]:
            spans.append(Span(*at.of(start, stop), start, stop, clock, "time"))
        spans.append(Span(*at.of(start, stop), start, stop, text[start:stop], "time"))
    inside_quotes = [at.of(start, stop) for start, stop, _ in quoted]
    inside_dates = [at.of(start, stop) for start, stop, _ in dates]
    spans += _numbers(words, inside_dates)
    spans += _lists(words, text, dict(zip(inside_quotes, (value for _, _, value in quoted), strict=True)))
    found: tuple[Span, ...] = ()
    for longest in _LONGEST:
        found = _distinct([*spans, *_phrases(words, text, inside_quotes + inside_dates, longest)])
        if len(found) <= MAX_SPANS:
            break
    return SpannedText(text, words, found[:MAX_SPANS])


class _WordIndex:
    """Which words a stretch of characters touches."""

    def __init__(self, words: Sequence[SpanWord]):
        self._words = words

    def of(self, start: int, end: int) -> tuple[int, int]:
        """(first, last) word in [start, end)."""
        touched = [k for k, w in enumerate(self._words) if w.end > start and w.start < end]
        if touched:
            return touched[0], touched[-1]
        nearest = min(range(len(self._words)), key=lambda k: abs(self._words[k].start - start))
        return nearest, nearest


def _words(text: str, quoted: Sequence[tuple[int, int]]) -> tuple[SpanWord, ...]:
    found: list[SpanWord] = []
    opens = True
    edges = {start for start, _ in quoted} | {stop for _, stop in quoted}
    matches = list(_WORD.finditer(text))
    for k, match in enumerate(matches):
        raw = match.group()
        start, end = match.start(), match.end()
        while start < end and text[start] in _OPENERS:
            start += 1
        while end > start and text[end - 1] in _CLOSERS:
            end -= 1
        if start == end:
            if found and any(c in ".!?;" for c in raw):
                found[-1] = dataclasses.replace(found[-1], breaks=True)
            continue
        core = text[start:end]
        if core.lower().endswith(("'s", "’s")):
            core, end = core[:-2], end - 2
        following = text[end : matches[k + 1].start()] if k + 1 < len(matches) else "."
        next_start = matches[k + 1].start() if k + 1 < len(matches) else len(text)
        opening_next = k + 1 < len(matches) and matches[k + 1].group()[0] in '("“«'
        ends_sentence = any(c in ".!?" for c in following) and not re.fullmatch(r"[A-Z]|Dr|Mr|Mrs|Ms|St|vs|Prof", core)
        breaks = (
            ends_sentence
            or any(c in ';:)("“”' for c in following)
            or opening_next
            or any(end <= edge <= next_start for edge in edges)
        )
        lower = core.lower()
        found.append(SpanWord(start, end, core, lower, stem(lower), breaks, "," in following, opens))
        opens = ends_sentence
    return tuple(found)


def _unclosed(text: str, quoted: Sequence[tuple[int, int, str]]) -> list[tuple[int, int, str]]:
    """A quotation that is opened and never closed runs to the end of its sentence, and to the end of the text."""
    for match in re.finditer(r"(?:(?<=\s)|^)[\"“'](?=\w)", text):
        start = match.start()
        if any(s <= start < e for s, e, _ in quoted):
            continue
        rest = text[start + 1 :]
        if match.group() == "'" and "'" in rest:
            continue
        stops = {len(rest), *(m.start() for m in re.finditer(r"[.!?](?:\s|$)", rest))}
        return [(start, start + 1 + stop, rest[:stop].rstrip(" \"”'")) for stop in sorted(stops) if rest[:stop].strip()]
    return []


def _numbers(words: Sequence[SpanWord], dates: Sequence[tuple[int, int]]) -> Iterator[Span]:
    for k, word in enumerate(words):
        if any(first <= k <= last for first, last in dates) and not re.fullmatch(r"\d{4}", word.text):
            continue
        value: float | None = None
        match = _NUMBER.match(word.text)
        last = k
        if match:
            rest = word.text[match.end() :]
            if re.match(r"[:/.\d]|-\d|\w*\d", rest) or (rest[:1].isalpha() and len(rest) > 4):
                continue
            value = _value(match.group())
            if rest.lower() in _SCALES and rest.lower() in ("k", "bn"):
                value *= _SCALES[rest.lower()]
            elif not rest and k + 1 < len(words) and words[k + 1].lower in _SCALES and len(words[k + 1].lower) > 2:
                value, last = value * _SCALES[words[k + 1].lower], k + 1
        elif word.lower in NUMBER_WORDS and word.lower not in ("hundred", "thousand"):
            value = float(NUMBER_WORDS[word.lower])
        elif "-" in word.lower and (head := word.lower.split("-")[0]) in NUMBER_WORDS:
            parts = word.lower.split("-")
            value = float(NUMBER_WORDS[head])
            if head.endswith("ty") and parts[1] in NUMBER_WORDS and NUMBER_WORDS[parts[1]] < 10:
                value += NUMBER_WORDS[parts[1]]
        if value is None:
            continue
        yield Span(k, last, word.start, words[last].end, int(value) if value.is_integer() else value, "number")


def _value(text: str) -> float:
    return float(re.sub(r"[$€£¥,+]", "", text))


def _lists(words: Sequence[SpanWord], text: str, quoted: Mapping[tuple[int, int], str]) -> Iterator[Span]:
    """`'a', 'b', and 'c'` and `x, y and z`: items joined by commas or `and`, each a quotation or up to three words."""
    ends = dict(quoted.keys())
    atoms: list[tuple[int, int]] = []
    while not atoms or atoms[-1][1] + 1 < len(words):
        first = atoms[-1][1] + 1 if atoms else 0
        atoms.append((first, max(first, ends.get(first, first))))
    position = 0
    while position < len(atoms):
        run, position = _run(words, text, atoms, position, ends)
        if len(run) > 1:
            start, end = words[run[0][0]].start, words[run[-1][1]].end
            items = [quoted.get((a, b), text[words[a].start : words[b].end]) for a, b in run]
            yield Span(run[0][0], run[-1][1], start, end, items, "list")


def _run(
    words: Sequence[SpanWord], text: str, atoms: Sequence[tuple[int, int]], position: int, quoted: dict[int, int]
) -> tuple[list[tuple[int, int]], int]:
    """The items of an enumeration whose first item begins at an atom, and the atom after it."""
    first = position
    items: list[tuple[int, int]] = []
    while position < len(atoms):
        start = position
        if atoms[position][0] in quoted:
            position += 1
        else:
            while position < len(atoms) and position - start < 3 and atoms[position][0] not in quoted:
                word = words[atoms[position][0]]
                if word.lower in NO_START:
                    break
                position += 1
                if word.comma or word.breaks:
                    break
        if position == start:
            break
        items.append((atoms[start][0], atoms[position - 1][1]))
        between = (
            text[words[atoms[position - 1][1]].end : words[atoms[position][0]].start] if position < len(atoms) else ""
        )
        joined = "," in between
        if "." in between or ";" in between:
            break
        if position < len(atoms) and words[atoms[position][0]].lower in ("and", "or"):
            position += 1
            joined = True
        if not joined:
            break
    return items, max(position, first + 1)


def _phrases(words: Sequence[SpanWord], text: str, closed: Sequence[tuple[int, int]], longest: int) -> Iterator[Span]:
    """Runs of up to so many words that neither begin nor end in a function word, and singular forms of plural ones."""
    within = [-1] * len(words)
    for number, (first, last) in enumerate(closed):
        for k in range(first, last + 1):
            within[k] = number
    for first, word in enumerate(words):
        named = word.text[:1].isupper() and not word.opens and len(word.text) > 1
        if within[first] >= 0 or (word.lower in NO_START and not named):
            continue
        commas = 0
        for last in range(first, min(first + longest, len(words))):
            if within[last] >= 0:
                break
            other = words[last]
            if other.lower not in NO_END or (other.text[:1].isupper() and other.text != "I" and last > first):
                yield Span(first, last, word.start, other.end, text[word.start : other.end], "phrase")
                one = singular(other.text) if last - first < 3 else None
                if one is not None:
                    yield Span(first, last, word.start, other.end, text[word.start : other.start] + one, "singular")
            commas += other.comma
            if other.breaks or commas > 3:
                break


def singular(word: str) -> str | None:
    """The singular of an English plural in lower case, None where the word is none: `berries` → `berry`."""
    if len(word) < 4 or not word.isalpha() or not word.islower() or word.endswith(("ss", "us", "is")):
        return None
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "shes", "ches", "xes", "oes")):
        return word[:-2]
    return word[:-1] if word.endswith("s") else None


def _distinct(spans: Sequence[Span]) -> tuple[Span, ...]:
    """One span for each value at a place."""
    seen: dict[tuple[int, int, str], Span] = {}
    for span in spans:
        seen.setdefault((span.first, span.last, repr(span.value)), span)
    return tuple(seen.values())
