"""What a parameter's declaration says about the values it wants: unit, role, whether it names a column or a text."""

from __future__ import annotations

import dataclasses
import functools
import re

from orchestai_jax.planner.arguments.lexicon import OPERATOR_SPELLINGS, STOP_WORDS, word_set
from orchestai_jax.planner.arguments.words import content_stems, parts, squeeze, stem, stem_set
from orchestai_jax.workflow.catalog import Parameter, TaskType

# Order matters: `samples a second` is a rate, not a time.
_UNIT_PATTERNS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (unit, re.compile(pattern, re.I))
    for unit, pattern in (
        ("Hz", r"\b(?:hertz|k?hz|sampl\w* (?:a|per) second|sampl\w* rate|sampling frequency)\b"),
        ("ms", r"\b(?:milliseconds?|msec|ms)\b"),
        ("dB", r"\b(?:decibels?|dbfs|db)\b"),
        ("kB", r"\b(?:kilobytes?|kb|file size)\b"),
        ("deg", r"\b(?:degrees?|angle|deg)\b"),
        ("factor", r"\b(?:factor|scale|ratio|share|fraction|multiplier|zoom)\b"),
        ("%", r"\b(?:percent|percentage)\b"),
        ("px", r"\b(?:pixels?|px|width|height|edge)\b"),
        ("s", r"\b(?:seconds?|sec|duration)\b"),
    )
)
_ROLE_WORDS: dict[str, frozenset[str]] = {
    "width": frozenset({"width", "w"}),
    "height": frozenset({"height", "h"}),
    "start": frozenset({"start", "begin", "from", "since"}),
    "end": frozenset({"end", "stop", "until", "to", "finish"}),
    "left": frozenset({"left"}),
    "top": frozenset({"top"}),
}
_COUNT = re.compile(r"\b(?:number of|how many|count of|at most)\s+(.*)", re.I)
_EDGE = re.compile(r"\b(?:edge|distance|margin|offset)\b", re.I)
_COUNT_NAMES = frozenset({"count", "n", "k", "limit", "top", "num", "number", "amount", "max", "total"})
_NOT_COUNTED = stem_set("to keep list show return of the in for a find")
_COLUMN = re.compile(r"\b(?:column|field)s?\b", re.I)
_SEVERAL = re.compile(
    r"\b(?:columns|fields)\b(?=.*\b(?:separated|list|names)\b)|\bnames of (?:the )?(?:columns|fields)\b|^columns\b",
    re.I,
)
_COLUMN_ROLES: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (role, re.compile(pattern, re.I))
    for role, pattern in (
        ("x", r"(?:^|\W)x(?:\W|$)|horizontal"),
        ("y", r"(?:^|\W)y(?:\W|$)|vertical"),
        ("group", r"\bgroup"),
        ("sort", r"\b(?:sort|order|rank)"),
        ("unique", r"\b(?:unique|duplicate)"),
        ("join", r"\b(?:shared|join|key)"),
        ("test", r"\b(?:test|condition|compare|filter)"),
        ("measure", r"\b(?:aggregat|sum|measure|value)"),
    )
)
_FIND = word_set("find search old pattern target needle original what")
_REPLACEMENT = word_set("replacement replace new substitute with")
_LABEL = re.compile(r"\b(?:text to|label|caption|title|heading|name of|message|stands in)\b", re.I)


@dataclasses.dataclass(frozen=True)
class Traits:
    """What the rules know about one parameter of one task type."""

    name_stems: frozenset[str]
    word_stems: frozenset[str]
    """Content words of name and description."""
    unit: str
    """Canonical unit, empty where the declaration names none (`ms` where it wants milliseconds)."""
    role: str
    """width, height, start, end, left, top, or empty."""
    counted: frozenset[str]
    """Stems of what is counted, where the parameter is a number of things; empty otherwise."""
    limits: bool
    """Whether it is a number of things at all."""
    column: str
    """For the name of a column: group, sort, x, y, join, unique, test, measure, any; empty otherwise."""
    plural: bool
    """Whether it takes several names."""
    condition: str
    """`operator` or `value` of a condition, empty otherwise."""
    text: str
    """For a free text: find, replacement, label, any; empty otherwise."""


@functools.lru_cache(maxsize=4096)
def _traits_of(
    name: str, description: str, kind: str, task_words: frozenset[str], condition: str, enumerated: bool
) -> Traits:
    words = parts(name)
    name_stems = frozenset(stem(w) for w in words if len(w) > 1)
    numeric = kind in ("integer", "number", "any")
    readable = " ".join(words)
    unit = (
        next((u for text in (readable, description) for u, p in _UNIT_PATTERNS if p.search(text)), "")
        if numeric
        else ""
    )
    role = next((r for r, names in _ROLE_WORDS.items() if set(words) & names), "") if numeric else ""
    counting = _COUNT.search(description)
    limits = (
        kind in ("integer", "any")
        and unit == ""
        and bool(counting or set(words) & _COUNT_NAMES)
        and not _EDGE.search(description)
    )
    counted = (
        frozenset(stem(w) for w in parts(counting.group(1).split("(")[0])) - _NOT_COUNTED if counting else frozenset()
    )
    if limits and not counting:
        counted = name_stems | task_words
    stringy = kind in ("string", "any", "array", "object") and not enumerated and not condition
    column = ""
    if stringy and (_COLUMN.search(readable) or _COLUMN.search(description)):
        column = next((r for text in (readable, description) for r, p in _COLUMN_ROLES if p.search(text)), "any")
    text = ""
    if kind == "string" and stringy and not column:
        text = "find" if set(words) & _FIND else "replacement" if set(words) & _REPLACEMENT else ""
        text = text or ("label" if _LABEL.search(f"{readable} {description}") else "any")
    return Traits(
        name_stems=name_stems,
        word_stems=name_stems | content_stems(description),
        unit=unit,
        role=role,
        counted=counted if limits else frozenset(),
        limits=limits,
        column=column,
        plural=kind == "array"
        or bool(column and words[-1:] != ("column",) and _SEVERAL.search(f"{readable} {description}")),
        condition=condition,
        text=text,
    )


def traits(parameter: Parameter, task_type: TaskType) -> Traits:
    """Read a parameter's declaration (cached by its words)."""
    task_words = frozenset(stem(w) for w in parts(task_type.id) if w not in STOP_WORDS)
    condition = ""
    if is_operator(parameter):
        condition = "operator"
    elif any(is_operator(p) for p in task_type.parameters) and re.search(
        r"\b(?:value|threshold|operand|compare with)\b",
        f"{' '.join(parts(parameter.name))} {parameter.description}",
        re.I,
    ):
        condition = "value"
    return _traits_of(
        parameter.name, parameter.description, parameter.type, task_words, condition, parameter.enum is not None
    )


def is_operator(parameter: Parameter) -> bool:
    """Whether a parameter picks a comparison: an enumeration of operators, or one that is named so."""
    if parameter.enum is not None:
        return sum(canonical_operator(e) is not None for e in parameter.enum) >= 2
    return parameter.type in ("string", "any") and parameter.name.lower() in ("operator", "comparison", "comparator")


def canonical_operator(spelling: object) -> str | None:
    """The canonical operator (`>=`) that an entry of an enumeration (`gte`, `at_least`) stands for, or None."""
    if not isinstance(spelling, str):
        return None
    plain = squeeze(spelling) or spelling.strip()
    return next((op for op, spellings in OPERATOR_SPELLINGS.items() if plain in spellings), None)


def counterpart(value: float, unit: str, wanted: Traits) -> float | None:
    """`value` in `unit` as the parameter wants it, None where the units do not go together."""
    if unit == wanted.unit:
        return value
    if unit == "s" and wanted.unit == "ms":
        return value * 1000
    if unit == "%" and wanted.unit == "factor":
        return value / 100
    if unit == "factor" and wanted.unit == "%":
        return value * 100
    return None
