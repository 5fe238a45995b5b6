"""Words that name columns: next to `by`, `per`, `column`, `sum of` …, with the cue that says what the column is for."""

from __future__ import annotations

import dataclasses
import re

from orchestai_jax.planner.arguments.lexicon import ASCENDING, DESCENDING, STOP_WORDS, word_set
from orchestai_jax.planner.arguments.mentions import MAX_MENTIONS, Mention
from orchestai_jax.planner.arguments.reading import Reading
from orchestai_jax.planner.arguments.words import Word

_SKIPPED = word_set(
    "the a an its their each every column columns field fields value values of named called is are only"
)
_VERBS = word_set(
    "sort filter plot group join save convert keep show draw make create give get chart graph aggregate merge remove "
    "export write select pick choose compute calculate visualize visualise put build read load take use display find "
    "sorted grouped ordered ranked plotted showing keeping using drop list order rank report summarize count"
)
_FUNCTIONS = word_set(
    "sum total average mean avg median count number maximum minimum max min highest lowest largest smallest overall"
)
_SHAPES = word_set("bar bars line lines scatter histogram chart charts plot plots graph graphs diagram axis axes")
_DIRECTIONS = frozenset(w for w in (*DESCENDING, *ASCENDING) if " " not in w) | {"high", "low", "order"}
_NO_COLUMN = (
    STOP_WORDS
    | _SHAPES
    | _DIRECTIONS
    | _FUNCTIONS
    | word_set(
        "way default hand itself mistake data dataset totals counts sums averages means frequencies numbers output "
        "picture image photo recording text please side"
    )
)
_MAX_WORDS, _MAX_LENGTH = 3, 64
_NOT_LISTED = STOP_WORDS | _SHAPES  # in a list of columns `total`, `count` and `top` are columns

_CUES = (
    ("sort by", re.compile(r"\b(?:sort|order|rank|arrang)\w*\s(?:\w+\s){0,3}by\b")),
    ("group by", re.compile(r"\b(?:group|aggregat|broken down|split|break down)\w*\s(?:\w+\s){0,3}by\b")),
    ("by", re.compile(r"\bby\b")),
    ("per", re.compile(r"\b(?:per|for each|for every|in each|of each|within each|across|each|every)\b")),
    ("over", re.compile(r"\b(?:over|against|versus|vs\.?|as a function of|depending on)(?!\w)")),
    ("on", re.compile(r"\bon\b(?! (?:the )?[xy]\b)")),
    ("using", re.compile(r"\b(?:using|via|based on|according to|in order of|matching|through)\b")),
    ("unique", re.compile(r"\b(?:unique|the same|same|duplicate|duplicated|repeated|distinct)\b")),
    ("function", re.compile(r"\b(?:sum|total|average|mean|avg|median|maximum|minimum|max|min|highest|lowest)\b")),
    ("x", re.compile(r"\bx(?:[\s-]?axis)?\s?(?:[:=]|is|as|should be|shows?)\s?")),
    ("y", re.compile(r"\by(?:[\s-]?axis)?\s?(?:[:=]|is|as|should be|shows?)\s?")),
    ("column", re.compile(r"\b(?:column|field)s?\b(?! (?:chart|from|of))")),
    ("shown", re.compile(r"\b(?:histograms?|distribution)\s(?:of|for)\b")),
)
_BEFORE_CUES = (
    (
        "measure",
        re.compile(
            r"\b(?:(?:(?:sort|order|rank|group)\w*\s)?by|per|over|against|versus|vs\.?|for each|for every)(?!\w)"
        ),
    ),
    ("x", re.compile(r"\b(?:on|as|along)\s(?:the\s)?(?:x\b(?:[\s-]?axis)?|horizontal axis)")),
    ("y", re.compile(r"\b(?:on|as|along)\s(?:the\s)?(?:y\b(?:[\s-]?axis)?|vertical axis)")),
    ("column", re.compile(r"\b(?:column|field)\b")),
    ("shown", re.compile(r"\b(?:(?:is|are)\s)?(?:distributed|distribution|histogram)\b")),
    ("first", re.compile(r"\b(?:first|on top|at the top)\b")),
)
_LIST_CUES = re.compile(
    r"\b(?:columns|fields)\b|\b(?:keep|select|pick|choose|extract|retain|take|leave|want|need|show)\s(?:me\s)?(?:only|just)\b"
    r"|\b(?:only|just)\s(?:keep|select|pick|choose|retain)\b|\b(?:keep|select|pick|choose|retain|only|just)\b"
)


@dataclasses.dataclass(frozen=True, slots=True)
class ColumnMention:
    """A name that may be a column's (several for cue `list`), and the cue next to it."""

    cue: str
    names: tuple[str, ...]
    start: int
    end: int


def find_columns(reading: Reading) -> list[ColumnMention]:
    """The column mentions of a text; one name may appear under several cues. Linear in the text."""
    found: list[ColumnMention] = []
    for cue, pattern in _CUES:
        for count, match in enumerate(pattern.finditer(reading.masked)):
            if count >= MAX_MENTIONS:
                break
            name = _name_after_by(reading, match.end()) if "by" in cue else name_after(reading, match.end())
            if name is not None:
                found.append(ColumnMention(cue, (name[0],), name[1], name[2]))
    for cue, pattern in _BEFORE_CUES:
        for count, match in enumerate(pattern.finditer(reading.masked)):
            if count >= MAX_MENTIONS:
                break
            name = name_before(reading, match.start())
            if name is not None:
                found.append(ColumnMention(cue, (name[0],), name[1], name[2]))
    for count, match in enumerate(_LIST_CUES.finditer(reading.masked)):
        if count >= MAX_MENTIONS:
            break
        column_list = _list_after(reading, match.end())
        if column_list is not None and match.group() in ("only", "just") and len(column_list.names) < 2:
            continue
        if column_list is None and match.group().lower() in ("columns", "fields"):
            column_list = _list_before(reading, match.start())
        if column_list is not None:
            found.append(column_list)
    return found


def _name_after_by(reading: Reading, position: int) -> tuple[str, int, int] | None:
    """`by highest total revenue` → revenue; `by count` → count, which is a column of every table of counts."""
    name = name_after(reading, position, _SKIPPED | _DIRECTIONS | _FUNCTIONS)
    index = reading.item_index(position)
    if name is None and index < len(reading.items):
        first = reading.items[index]
        if isinstance(first, Word) and first.text == "count" and reading.text[position : first.start].strip() == "":
            return reading.text[first.start : first.end], first.start, first.end
    return name


def name_after(
    reading: Reading, position: int, skip: frozenset[str] = _SKIPPED, barred: frozenset[str] = _NO_COLUMN | _VERBS
) -> tuple[str, int, int] | None:
    """The name (text, start, end) that stands at `position`, after articles: quoted, or up to three plain words."""
    index = reading.item_index(position)
    reached = position
    items = reading.items
    while index < len(items):
        item = items[index]
        if reading.text[reached : item.start].strip(" :=\t([") != "":
            return None
        if not isinstance(item, Word) or item.text not in skip:
            break
        reached = item.end
        index += 1
    if index == len(items):
        return None
    item = items[index]
    if isinstance(item, Mention):
        return (item.text, item.start, item.end) if item.kind == "quoted" and len(item.text) <= 100 else None
    if item.text in barred or len(item.text) > _MAX_LENGTH:
        return None
    end = item.end
    for following in items[index + 1 : index + _MAX_WORDS]:
        if (
            not isinstance(following, Word)
            or reading.text[end : following.start] != " "
            or not _may_continue(following)
        ):
            break
        end = following.end
    return reading.text[item.start : end], item.start, end


def name_before(reading: Reading, position: int) -> tuple[str, int, int] | None:
    """The name that ends at `position`: quoted, or up to three plain words."""
    index = reading.item_index(position) - 1
    if index < 0 or reading.text[reading.items[index].end : position].strip(" \t") != "":
        return None
    item = reading.items[index]
    if isinstance(item, Word) and item.text in ("column", "columns", "values", "value"):
        return name_before(reading, item.start)
    if isinstance(item, Mention):
        return (item.text, item.start, item.end) if item.kind == "quoted" and len(item.text) <= 100 else None
    if not _may_start(item):
        return None
    start = item.start
    for back in range(1, _MAX_WORDS):
        if index - back < 0:
            break
        before = reading.items[index - back]
        if not isinstance(before, Word) or reading.text[before.end : start] != " " or not _may_start(before):
            break
        start = before.start
    return reading.text[start : item.end], start, item.end


def _may_start(word: Word) -> bool:
    return word.text not in _NO_COLUMN and word.text not in _VERBS and len(word.text) <= _MAX_LENGTH


def _may_continue(word: Word) -> bool:
    return _may_start(word) and not word.text.endswith(("ly", "ing"))


def _list_after(reading: Reading, position: int) -> ColumnMention | None:
    names: list[str] = []
    start = end = position
    at = position
    while len(names) < 64:
        skip = _SKIPPED | ({"and", "or", "as", "well"} if names else {"only", "just"})
        name = name_after(reading, at, skip, _NOT_LISTED if names else _NO_COLUMN | _VERBS)
        if name is None:
            break
        text, name_start, name_end = name
        if not names:
            start = name_start
        names.append(text)
        end = name_end
        rest = re.match(r"\s*(?:,\s*(?:and\s|or\s)?|and\s|or\s|&\s?|\+\s?)", reading.masked[end : end + 16])
        if rest is None:
            break
        at = end + rest.end()
        if _goes_on(reading, at):
            break  # `keep name and city, then sort …`: the list is over, another step begins
    return ColumnMention("list", tuple(names), start, end) if names else None


def _goes_on(reading: Reading, position: int) -> bool:
    """Whether a verb that begins a step stands at a position, and no comma or `and` right after it."""
    index = reading.item_index(position)
    if index >= len(reading.items):
        return False
    word = reading.items[index]
    if not isinstance(word, Word) or word.text not in _VERBS | {"then", "rotate", "resize", "zip", "compress"}:
        return False
    return re.match(r"\s*(?:,|\.|$|and\b)", reading.masked[word.end : word.end + 8]) is None


def _list_before(reading: Reading, position: int) -> ColumnMention | None:
    names: list[str] = []
    at = start = end = position
    while len(names) < 64:
        name = name_before(reading, at)
        if name is None:
            break
        names.append(name[0])
        if len(names) == 1:
            end = name[2]
        start = name[1]
        joint = re.search(
            r"(?:,\s*(?:and\s+|or\s+)?|\sand\s+|\sor\s+|\s?&\s?)$", reading.masked[max(0, start - 16) : start]
        )
        if joint is None:
            break
        at = start - len(joint.group())
    return ColumnMention("list", tuple(reversed(names)), start, end) if names else None
