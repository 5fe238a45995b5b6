"""Free texts for string parameters: quoted or capitalised after a cue."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from orchestai_jax.planner.arguments.lexicon import STOP_WORDS, word_set
from orchestai_jax.planner.arguments.mentions import Mention
from orchestai_jax.planner.arguments.reading import Reading
from orchestai_jax.planner.arguments.traits import Traits
from orchestai_jax.planner.arguments.words import Word, stem_set
from orchestai_jax.workflow.catalog import Parameter

_MAX_ITEMS = 4000
"""At most this many words and mentions of a task's clauses are looked at for one parameter."""
_CUES: dict[str, frozenset[str]] = {
    "title": word_set("title titled entitled heading headed headline called named"),
    "name": word_set("name named called call filename"),
    "label": word_set(
        "saying with says say reading reads label labelled labeled text watermark caption stamp word words mark marked"
    ),
    "find": word_set("find word phrase replace remove delete occurrences occurrence every all string term search"),
    "replacement": word_set("with by replacement"),
}
_NAMING = word_set("called named titled entitled")
"""What follows these is a name, whether capitalised or not."""
_ADDRESSES = stem_set("email mail recipient address contact")
_LINKS = stem_set("url link website webpage uri")
_DATES = stem_set("date day when departure arrival")
_PREPOSITIONS: tuple[tuple[frozenset[str], str], ...] = (
    (stem_set("origin source departure"), "from"),
    (stem_set("destination target arrival"), "to"),
    (stem_set("city location place country region area where"), "in"),
)


def text_candidates(
    reading: Reading, parameter: Parameter, wanted: Traits, spans: Sequence[tuple[int, int]]
) -> Iterator[tuple[float, str, int]]:
    """(score, value, position) of the texts in some spans of the instruction that may fill a string parameter."""
    cues = _cues(parameter, wanted)
    left = _MAX_ITEMS
    for start, end in spans:
        index = reading.item_index(start)
        while index < len(reading.items) and reading.items[index].start < end and left > 0:
            left -= 1
            item = reading.items[index]
            index += 1
            if isinstance(item, Mention):
                score = _mention_score(reading, item, parameter, wanted, cues)
                if score is not None:
                    yield score, item.text, item.start
            elif item.text in cues and wanted.text:
                run = _capitalised(reading, index, item.end, any_case=item.text in _NAMING, skip=cues)
                if run is not None:
                    yield 2.0, run[0], run[1]
            elif wanted.text == "any" and parameter.required:
                for stems, preposition in _PREPOSITIONS:
                    if item.text == preposition and wanted.word_stems & stems:
                        run = _capitalised(reading, index, item.end)
                        if run is not None:
                            yield 1.5 + (1.0 if wanted.name_stems & stems else 0.0), run[0], run[1]


def _cues(parameter: Parameter, wanted: Traits) -> frozenset[str]:
    name = parameter.name.lower()
    words = [w for w in re.findall(r"[a-z]+", name) if w not in STOP_WORDS]
    own = frozenset(words)
    kind = next((k for k in ("title", "name") if k in own), wanted.text)
    if wanted.text == "any" and len(words) > 1:
        # `restaurant_id` follows `ID`, not `Restaurant Management`; `crop_name` follows `crop`.
        own = frozenset(words[:1] if words[-1] == "name" else words[-1:])
    said = word_set(parameter.description.lower()) - STOP_WORDS if kind == "label" else frozenset()
    return own | said | _CUES.get(kind, frozenset())


def _mention_score(
    reading: Reading, mention: Mention, parameter: Parameter, wanted: Traits, cues: frozenset[str]
) -> float | None:
    if mention.kind == "email":
        return 3.0 if wanted.word_stems & _ADDRESSES and wanted.text == "any" else None
    if mention.kind == "url":
        return 3.0 if parameter.type == "url" or wanted.name_stems & _LINKS else None
    if mention.kind == "date":
        return 2.5 if wanted.word_stems & _DATES and wanted.text == "any" else None
    before = [w.text for w in reading.words_before(mention.start, 3)]
    near = next((3.0 - 0.4 * k for k, w in enumerate(before) if w in cues), 0.0)
    if mention.kind == "file":
        # An archive's or a page's name is said as a file: `into photos.zip`, `called index.html`.
        named = "name" in parameter.name.lower() and mention.role == "output"
        return 2.5 + near / 10 if named else None
    if mention.kind != "quoted" or wanted.text == "":
        return None
    if wanted.text == "replacement":
        return near or None
    if wanted.text == "label" and before[:1] == ["with"]:
        near = max(near, 1.0)
    return 1.0 + near


def _capitalised(
    reading: Reading, index: int, reached: int, any_case: bool = False, skip: frozenset[str] = frozenset()
) -> tuple[str, int] | None:
    """The run of capitalised words (or words with digits) that starts at item `index`, after `is`, `of`, a colon."""
    items = reading.items
    while (
        index < len(items)
        and isinstance(items[index], Word)
        and (items[index].text in ("is", "of", "to", "the", "a", "text", "as", "be") or items[index].text in skip)
    ):
        reached = items[index].end
        index += 1
    if index >= len(items) or reading.text[reached : items[index].start].strip(" :=") != "":
        return None
    first = items[index]
    if not isinstance(first, Word) or first.text in STOP_WORDS:
        return None
    if not (any_case or _is_name(reading, first)):
        return None
    end = first.end
    for item in items[index + 1 : index + 8]:
        if not isinstance(item, Word) or reading.text[end : item.start] != " " or not _is_name(reading, item):
            break
        end = item.end
    return reading.text[first.start : end], first.start


def _is_name(reading: Reading, word: Word) -> bool:
    return reading.text[word.start].isupper() or any(c.isdigit() for c in word.text)
