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
    "wants needs likes gives shows takes makes gets has lists listed shown drawn "
    "sorted grouped ordered ranked plotted showing keeping using drop list order rank report summarize count"
)
_FUNCTIONS = word_set(
    "summed added totalled totaled averaged statistics stats "
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
        "picture image photo recording text please side "
        "once twice together altogether up"
    )
)
_ENDINGS = word_set(
    "brought made sold bought got gave went came spent kept found paid grew cost costs sells earns lives "
    "varies vary develops evolves changes goes depends differs moves rises falls"
)
"""Verbs that end a bare name, as do words in -ed: `what each product brought in`."""
_MEASURES = word_set("total sum average mean count median maximum minimum max min")
"""Words for a computed number that may be a column's name."""
_IDIOM = re.compile(
    r"(?:by|on|per|over|across|via|through)\s(?:tomorrow|tonight|today|noon|midday|lunch\w*|dinner|night|christmas"
    r"|monday|tuesday|wednesday|thursday|friday|saturday|sunday|the weekend|the end of)\b(?!_)"
    r"|by\s(?:hand|heart|far|accident|chance|means|all means|any means|definition|law|nature|now|then|and large"
    r"|myself|yourself|itself|oneself|the time|the way)\b(?!_)"
    r"|on\s(?:time|top|board|paper|screen|purpose|demand|budget|hand)\b(?!_)"
    r"|per\sse\b|across\sthe\sboard\b|each\sother\b|(?:each|every)\stime\b"
)
"""`by tomorrow`, `on paper`, `per se`, `each other` name no column."""
_POSTED = re.compile(r"(?:by|via|through)\s(?:e-?mail|mail|post|phone|text|letter)\b")
_SENDING = word_set("send sends sending sent mail mailing mailed share sharing forward reply answer tell call")
_PREFERENCES = word_set(
    "speed beauty quality looks style form function substance prettiness precision accuracy economy"
)
_PREFERENCE = re.compile(
    r"(?:^|[.!?;\n])\s*(\w+)\sover\s(\w+)(?:,?\s(?:please|here|this time|for me))?\s*(?=$|[.!?;\n])"
)
"""A sentence of its own that ranks two qualities: `Speed over beauty.`"""
_SHEETS = word_set("log list sheet spreadsheet book file ledger orders records entries")
_PARTICIPLES = word_set("broken split shown drawn listed put cut seen")
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
    (
        "function",
        re.compile(
            r"\b(?:sum|total|average|mean|avg|median|maximum|minimum|max|min|highest|lowest"
            r"|(?:add|adds|adding|added|sums|summing|summed)(?:\sup)?)\b"
        ),
    ),
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
    (
        "measure",
        re.compile(r"\b(?:(?:is|are|be|being)\s)?(?:added|summed|totalled|totaled|averaged)(?:\s(?:up|together))?\b"),
    ),
    ("x", re.compile(r"\b(?:on|as|along)\s(?:the\s)?(?:x\b(?:[\s-]?axis)?|horizontal axis)")),
    ("y", re.compile(r"\b(?:on|as|along)\s(?:the\s)?(?:y\b(?:[\s-]?axis)?|vertical axis)")),
    ("column", re.compile(r"\b(?:column|field)\b")),
    ("shown", re.compile(r"\b(?:(?:is|are)\s)?(?:distributed|distribution|histogram)\b")),
    ("first", re.compile(r"\b(?:first|on top|at the top)\b")),
)
_LIST_CUES = re.compile(
    r"\b(?:columns|fields)\b|\b(?:keep|select|pick|choose|extract|retain|take|leave|want|need|show)\s(?:me\s)?(?:only|just)\b"
    r"|\b(?:nothing|no\s(?:other\s)?columns?)\s(?:but|except|besides|other than)\b"
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
    preferences = [m.span() for m in _PREFERENCE.finditer(reading.masked) if _PREFERENCES & set(m.groups())]
    for cue, pattern in _CUES:
        for count, match in enumerate(pattern.finditer(reading.masked)):
            if count >= MAX_MENTIONS:
                break
            if _is_idiom(reading, match, preferences):
                continue
            if "by" in cue:
                name = _name_after_by(reading, match.end())
            elif cue == "function":
                name = name_after(reading, match.end()) or _measure_after(reading, match.end())
            else:
                name = name_after(reading, match.end())
            if name is not None:
                found.append(ColumnMention(cue, (name[0],), name[1], name[2]))
    for cue, pattern in _BEFORE_CUES:
        for count, match in enumerate(pattern.finditer(reading.masked)):
            if count >= MAX_MENTIONS:
                break
            if _is_idiom(reading, match, preferences):
                continue
            name = name_before(reading, match.start())
            if name is None and cue == "column":
                name = _measure_before(reading, match.start())
            if name is not None and cue == "measure" and (_is_participle(name[0]) or name[0].lower() in _SHEETS):
                continue  # `listed by price`, `the order log summed up by store`
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


def _is_idiom(reading: Reading, match: re.Match[str], preferences: list[tuple[int, int]]) -> bool:
    if any(start <= match.start() < end for start, end in preferences):
        return True
    last = match.start() + max(match.group().rfind(" "), 0)
    at = last + 1 if last > match.start() else last
    if _POSTED.match(reading.masked, at) and _SENDING & {w.text for w in reading.words_before(at, 10)}:
        return True
    return _IDIOM.match(reading.masked, at) is not None


def _is_participle(name: str) -> bool:
    last = name.split()[-1].lower()
    return (len(last) > 4 and last.endswith("ed")) or last in _PARTICIPLES


def _measure_after(reading: Reading, position: int) -> tuple[str, int, int] | None:
    """`sum of total per region`: a word like `total` is the column where no other name follows."""
    index = reading.item_index(position)
    reached = position
    for item in reading.items[index : index + 4]:
        if not isinstance(item, Word) or reading.text[reached : item.start].strip(" \t") != "":
            return None
        if item.text in _MEASURES:
            return (
                None if name_after(reading, item.end) else (reading.text[item.start : item.end], item.start, item.end)
            )
        if item.text not in _SKIPPED | {"all", "up"}:
            return None
        reached = item.end
    return None


def _measure_before(reading: Reading, position: int) -> tuple[str, int, int] | None:
    """`the total column`."""
    index = reading.item_index(position) - 1
    item = reading.items[index] if index >= 0 else None
    if not isinstance(item, Word) or item.text not in _MEASURES or reading.text[item.end : position].strip(" \t"):
        return None
    return reading.text[item.start : item.end], item.start, item.end


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
    if isinstance(item, Word) and item.text in _ENDINGS and item.text.endswith("s"):
        return name_before(reading, item.start)  # `how rating varies by month`
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
    return _may_start(word) and not word.text.endswith(("ly", "ing", "ed")) and word.text not in _ENDINGS


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
    if isinstance(word, Word) and _is_participle(word.text):
        return re.match(r"\s(?:as|to|in|into|by|from)\b", reading.masked[word.end : word.end + 8]) is not None
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
