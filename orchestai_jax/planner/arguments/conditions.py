"""Conditions on a column: `where amount is greater than 100`, `with at least 10 units`, `status is open`."""

from __future__ import annotations

import dataclasses
import itertools
import re
from typing import Any

from orchestai_jax.planner.arguments.columns import ColumnMention, find_columns, name_after, name_before
from orchestai_jax.planner.arguments.lexicon import COMPARISONS, STOP_WORDS, word_set
from orchestai_jax.planner.arguments.mentions import MAX_MENTIONS, Mention
from orchestai_jax.planner.arguments.reading import Reading
from orchestai_jax.planner.arguments.words import Word

_OPERATORS = sorted(
    ((phrase, op) for op, phrases in COMPARISONS.items() for phrase in phrases), key=lambda p: -len(p[0])
)
_WORDED = [*(p for p, _ in _OPERATORS if p[0].isalpha()), "after", "before", "since"]
# The look-ahead at the first letter spares most positions the alternatives.
_WORDED_PATTERN = "|".join(p.replace(" ", r"\s+") for p in _WORDED)
_SIGNS = "|".join(re.escape(p) for p, _ in _OPERATORS if not p[0].isalpha())
_OPERATOR = re.compile(rf"\b(?=[{''.join({p[0] for p in _WORDED})}])(?:{_WORDED_PATTERN})\b|{_SIGNS}")
_BY_PHRASE = {**{" ".join(p.split()): op for p, op in _OPERATORS}, "after": ">", "since": ">=", "before": "<"}
_DATED = frozenset({"after", "before", "since"})
_ADJECTIVES = frozenset(f"{w} than" for w in word_set("older younger taller shorter heavier lighter cheaper"))
_EQUALITY_WORDS = frozenset({"is", "are", "was", "were"})
_CONTEXT = word_set("where whose with which that having if when rows entries records only filter keep")
_BEFORE_FILLERS = word_set("is are was were be been being has have had a an of value values column strictly equal that")
_OR_MORE = re.compile(
    r"^\s*(?:\w+\s)?(?:or|and)\s(?:more|higher|above|greater|larger|over|older|longer|up|later)\b|^\s*\+"
)
_OR_LESS = re.compile(r"^\s*(?:\w+\s)?(?:or|and)\s(?:less|fewer|lower|below|smaller|under|younger|shorter|earlier)\b")
_WITH = re.compile(r"\b(?:where|whose|with|having|for)\s(?:the\s|a\s|an\s)?")
_OF = re.compile(r"\b(?:of|from|in|at)\s(?:the\s)?|\blook(?:s|ing)?\s(?:only\s|just\s)?at\s(?:the\s)?")
_PLACE = re.compile(r"\b(?:in|from|at|of|for|called|named)\s")
_PLACED_COLUMN = re.compile(r"\s?\((?:the\s)?(\w+)(?:\s(?:in|of|column)\b|\))")
_NO_VALUE = word_set("data dataset list numbers figures orders entries records sheet spreadsheet report chart")
_NEGATED = re.compile(r"\b(?:not|n't|don't|doesn't|never)\s$")


@dataclasses.dataclass(frozen=True, slots=True)
class Condition:
    """`column` (None where the text names none), canonical operator, value, and the span of the value."""

    column: str | None
    operator: str
    value: Any
    start: int
    """Where the condition begins (its column, or its operator)."""
    value_start: int
    end: int
    certain: bool = True
    """False where no comparison is written out (`with status open`)."""


def find_conditions(reading: Reading) -> list[Condition]:
    """The conditions of a text in order, at most MAX_MENTIONS. Linear in the text."""
    found: list[Condition] = []
    reached = 0
    for match in _OPERATOR.finditer(reading.masked):
        if len(found) >= MAX_MENTIONS:
            break
        if match.start() < reached:
            continue
        condition = _condition(reading, match)
        if condition is not None:
            found.append(condition)
            reached = condition.end
    for mention in reading.mentions:
        condition = _postfixed(reading, mention) if mention.kind == "number" else None
        if condition is not None and not any(c.value_start == condition.value_start for c in found):
            found.append(condition)
    for match in _WITH.finditer(reading.masked):
        if len(found) >= 2 * MAX_MENTIONS:
            break
        condition = _unwritten(reading, match.end())
        if condition is not None and not any(c.start < condition.end and condition.start < c.end for c in found):
            found.append(condition)
    for condition in _unsure(reading):
        if not any(c.start < condition.end and condition.start < c.end for c in found):
            found.append(condition)
    return sorted(found, key=lambda c: c.start)


def _unsure(reading: Reading) -> list[Condition]:
    """`orders of region South`, `look at the segment school`; `customers from Lagos (city in customers.csv)`."""
    found: list[Condition] = []
    for match in itertools.islice(_OF.finditer(reading.masked), MAX_MENTIONS):
        condition = _unwritten(reading, match.end())
        if condition is None or str(condition.value).lower() in _NO_VALUE:
            continue
        lower = reading.text[condition.start].islower()
        if lower and (reading.text[condition.value_start].isupper() or match.group().startswith("look")):
            found.append(condition)
    named = [c for c in find_columns(reading) if c.cue == "column" and _is_one_column(reading, c)]
    for match in itertools.islice(_PLACE.finditer(reading.masked), MAX_MENTIONS):
        index = reading.item_index(match.end())
        if index >= len(reading.items) or reading.items[index].start != match.end():
            continue
        if not reading.text[match.end()].isupper():
            continue
        taken = _words_value(reading, index)
        if taken is None:
            continue
        value, start, end = taken
        column = _PLACED_COLUMN.match(reading.masked, end)
        if column is not None:
            found.append(Condition(column[1], "==", value, start, start, end, False))
        elif named:
            nearest = min(named, key=lambda c, at=start: abs(c.start - at))
            found.append(Condition(nearest.names[0], "==", value, start, start, end, False))
    return found


def _is_one_column(reading: Reading, mention: ColumnMention) -> bool:
    """`the city column`, `column city`, and not `these columns go`."""
    return bool(
        re.search(r"\b(?:column|field)\W+$", reading.masked[max(0, mention.start - 10) : mention.start])
        or re.match(r"\W+(?:column|field)\b", reading.masked[mention.end : mention.end + 10])
    )


def _condition(reading: Reading, match: re.Match[str]) -> Condition | None:
    phrase = " ".join(match.group().lower().split())
    operator = _BY_PHRASE[phrase]
    if phrase in _EQUALITY_WORDS and _OPERATOR.match(reading.masked, _after_blanks(reading.masked, match.end())):
        return None  # `is greater than`: the comparison follows
    value = _value_after(reading, match.end(), dated=phrase in _DATED)
    if value is None:
        return None
    content, value_start, end = value
    column = _column_before(reading, match.start())
    if phrase in _ADJECTIVES and not {w.text for w in reading.words_before(match.start(), 5)} & {"where", "whose"}:
        column = None  # `people older than 30`: people are no column
    if phrase in _EQUALITY_WORDS:
        context = {w.text for w in reading.words_before(match.start(), 6)}
        if column is None or not context & _CONTEXT:
            return None
    after = reading.masked[end : end + 40]
    if operator == "==":
        if _OR_MORE.match(after):
            operator = ">="
        elif _OR_LESS.match(after):
            operator = "<="
        elif _NEGATED.search(reading.masked[max(0, match.start() - 10) : match.start()]):
            operator = "!="
    start = match.start() if column is None else column[1]
    name = None if column is None else column[0]
    if name is None and isinstance(content, int | float):
        # `with at least 10 units`: the column follows the value.
        following = name_after(reading, end)
        before = reading.words_before(match.start(), 1)
        if (
            before
            and before[0].text in ("with", "has", "have", "having", "had", "sold", "got")
            and following is not None
        ):
            name, end = following[0], following[2]
        else:
            placed = re.match(r"\s(?:in|for|on|under)\s(?:the\s)?", reading.masked[end : end + 16])
            following = name_after(reading, end + placed.end()) if placed else None
            if following is not None:
                name, end = following[0], following[2]
    return Condition(name, operator, content, start, value_start, end)


def _after_blanks(text: str, position: int) -> int:
    return position + len(text[position : position + 8]) - len(text[position : position + 8].lstrip())


def _postfixed(reading: Reading, number: Mention) -> Condition | None:
    """`a score of 5 or more`."""
    after = reading.masked[number.end : number.end + 40]
    operator = ">=" if _OR_MORE.match(after) else "<=" if _OR_LESS.match(after) else None
    column = _column_before(reading, number.start) if operator else None
    if operator is None or column is None:
        return None
    return Condition(column[0], operator, _bare(number), column[1], number.start, number.end)


def _column_before(reading: Reading, position: int) -> tuple[str, int] | None:
    index = reading.item_index(position) - 1
    reached = position
    while index >= 0:
        item = reading.items[index]
        if reading.text[item.end : reached].strip(" \t)]") != "":
            return None
        if not isinstance(item, Word) or item.text not in _BEFORE_FILLERS:
            break
        reached = item.start
        index -= 1
    name = name_before(reading, reached)
    return None if name is None else (name[0], name[1])


def _value_after(reading: Reading, position: int, dated: bool = False) -> tuple[Any, int, int] | None:
    index = reading.item_index(position)
    reached = position
    while index < len(reading.items):
        item = reading.items[index]
        if reading.text[reached : item.start].strip(" \t$€£:=('\"") != "":
            return None
        if isinstance(item, Mention):
            if item.kind == "number":
                # A condition compares with the number as it is written: `over 30 seconds` is about 30.
                return (_bare(item), item.start, item.end)
            if item.kind == "date" or (item.kind == "quoted" and not dated):
                return item.text, item.start, item.end
            return None
        if dated:
            return None
        if item.text in ("the", "a", "an", "to", "exactly", "than", "value", "word", "string", "text", "equal"):
            reached = item.end
            index += 1
            continue
        return _words_value(reading, index)
    return None


def _bare(number: Mention) -> Any:
    digits = re.match(r"\s*[-−]?\d[\d,]*(?:\.\d+)?", number.text)
    if digits is None or number.unit == "":
        return number.value
    value = float(digits.group().replace(",", "").replace("−", "-"))
    return int(value) if value.is_integer() and "." not in digits.group() else value


def _words_value(reading: Reading, index: int) -> tuple[Any, int, int] | None:
    first = reading.items[index]
    if not isinstance(first, Word) or first.text in STOP_WORDS:
        return None
    end = first.end
    capital = reading.text[first.start].isupper()
    for item in reading.items[index + 1 : index + 4]:
        joined = reading.text[end : item.start] == " "
        if not (capital and isinstance(item, Word) and joined and reading.text[item.start].isupper()):
            break
        end = item.end
    return reading.text[first.start : end], first.start, end


def _unwritten(reading: Reading, position: int) -> Condition | None:
    """`with status shipped`, `for region "North"`, `with year 2023`: a name directly followed by a value."""
    index = reading.item_index(position)
    if index + 1 >= len(reading.items) or reading.items[index].start != position:
        return None
    name, value = reading.items[index], reading.items[index + 1]
    if not isinstance(name, Word) or name.text in STOP_WORDS or reading.text[name.end : value.start] != " ":
        return None
    if isinstance(value, Mention):
        if value.kind not in ("number", "quoted", "date"):
            return None
        content = value.value if value.kind == "number" else value.text
        return Condition(reading.text[name.start : name.end], "==", content, name.start, value.start, value.end, False)
    taken = _words_value(reading, index + 1)
    if taken is None:
        return None
    content, start, end = taken
    return Condition(reading.text[name.start : name.end], "==", content, name.start, start, end, False)
