"""How well a number of the instruction suits a numeric parameter, and the value that the parameter then gets."""

from __future__ import annotations

import itertools
import re
from typing import Any

from orchestai_jax.planner.arguments.lexicon import DATA_NOUNS, STOP_WORDS, is_superlative, word_set
from orchestai_jax.planner.arguments.mentions import Mention
from orchestai_jax.planner.arguments.reading import Reading
from orchestai_jax.planner.arguments.traits import Traits, counterpart
from orchestai_jax.planner.arguments.words import stem, stem_set, synonyms
from orchestai_jax.workflow.catalog import Parameter

_SMALLER = stem_set("smaller reduce shrink decrease less lower down downscale")
_LARGER = stem_set("larger bigger enlarge increase grow more up upscale")
_TOP = word_set("top first best limit only most main leading")
_COUNTER = re.compile(r"counter[\s-]?clockwise|anti[\s-]?clockwise|to the left|leftwards?", re.I)
_BELOW = re.compile(r"\bbelow\b", re.I)
_BOUNDS = re.compile(r"(-?\d+(?:\.\d+)?)(?:\s\([^)]*\))?\sto\s(-?\d+(?:\.\d+)?)\b")
_DATA_STEMS = frozenset(stem(noun) for nouns in DATA_NOUNS.values() for noun in nouns)
_UNIT_MATCH, _ROLE_MATCH, _NAME_NEAR, _COUNTED = 3.0, 4.0, 3.0, 3.0


def number_score(reading: Reading, number: Mention, parameter: Parameter, wanted: Traits) -> tuple[float, Any] | None:
    """(score, value) of a number for a parameter, None where it cannot be meant. 1 is the least that counts."""
    converted = _converted(reading, number, wanted)
    before = reading.words_before(number.start, 4)
    after = reading.words_after(number.end, 4)
    near = _nearness(before, after, wanted)
    if not number.unit and near < 2 and _counts_others(reading, number, before, after, wanted):
        return None
    score = 1.0
    if converted is not None and number.unit:
        score += _UNIT_MATCH if number.unit == wanted.unit else _UNIT_MATCH - 0.5
    elif number.unit:
        if wanted.unit or near < 2 or (number.unit == "s" and wanted.limits):
            return None
        converted = number.value
    if converted is None:
        converted = number.value
    score += near
    if wanted.role in ("left", "top") and wanted.unit == "px" and not _from_edge(reading, number, wanted.role):
        return None
    role = _role_score(number, wanted)
    if role is None:
        return None
    score += role
    if not number.unit:
        score += _noun_score(before, after, wanted, near)
        tiny = wanted.role in ("width", "height") and abs(number.value) < 8
        tiny = tiny or (wanted.unit == "Hz" and abs(number.value) < 1000)
        if tiny or (wanted.unit == "factor" and abs(number.value) > 10):
            score -= 0.5  # two pixels wide, 4 Hz, forty times as large: hardly meant
    if number.unit == "s" and before and before[0].text == "in":
        score -= _UNIT_MATCH + 1  # `the meeting starts in two minutes`
    value = _as_type(converted, parameter, wanted, number)
    if value is None:
        return None
    value = _signed(reading, number, parameter, value)
    return score, value


def _converted(reading: Reading, number: Mention, wanted: Traits) -> float | None:
    value = counterpart(number.value, number.unit, wanted)
    if value is None or wanted.unit != "factor" or number.unit not in ("%", "factor"):
        return value
    stems = {w.stem for w in (*reading.words_before(number.start, 3), *reading.words_after(number.end, 2))}
    by = {w.text for w in reading.words_before(number.start, 1)} == {"by"}
    comparative = {w.text for w in reading.words_after(number.end, 1)} & {"smaller", "larger", "bigger", "less", "more"}
    if number.unit == "%" and (by or comparative) and stems & _SMALLER:
        return round(1 - value, 9) if value < 1 else None
    if number.unit == "%" and (by or comparative) and stems & _LARGER:
        return round(1 + value, 9)
    if number.unit == "factor" and comparative & {"smaller", "less"} and value > 1:
        return round(1 / value, 9)
    return value


def _nearness(before: list, after: list, wanted: Traits) -> float:
    """Whether the parameter's name, or a word of its description, stands next to the number."""
    best = 0.0
    for words, side in ((before, 0.0), (after, 0.4)):
        for distance, word in enumerate(words):
            if distance and words[distance - 1].text in ("with", "by"):
                break  # `quality 80 with radius`: what lies beyond another preposition belongs elsewhere
            if word.stem in wanted.name_stems:
                best = max(best, _NAME_NEAR - side - 0.3 * distance)
            elif word.stem in wanted.word_stems and word.text not in STOP_WORDS:
                best = max(best, 1.2 - side - 0.3 * distance)
    return best


def _counts_others(reading: Reading, number: Mention, before: list, after: list, wanted: Traits) -> bool:
    """Whether a bare number counts what is no parameter's matter: `ten thousand more of these`, `a blurred one`."""
    if after and after[0].text == "more" and not reading.text[number.end : after[0].start].strip():
        return True
    if number.text != "one" or _is_counted(after, wanted):
        return False
    return bool(after and after[0].text not in STOP_WORDS) or bool(before and before[0].text not in STOP_WORDS)


def _is_counted(after: list, wanted: Traits) -> bool:
    """Whether what follows a number is what the parameter counts: `10 keywords`, `ten key phrases`."""
    if not wanted.limits:
        return False
    stems = {w.stem for w in after}
    stems |= {stem(f"{a.text}{b.text}") for a, b in itertools.pairwise(after[:3])}
    return bool(stems & {s for counted in wanted.counted for s in synonyms(counted)})


def _role_score(number: Mention, wanted: Traits) -> float | None:
    if number.role == "tail":
        return None if wanted.role in ("start", "end") else -1.0
    if not number.role:
        # `until` is the only word that names an end: a bare `5 s` may be either, the end rather.
        return 0.2 if wanted.role == "end" else 0.0
    if wanted.role == number.role:
        return _ROLE_MATCH
    return None if wanted.role else -1.5


def _from_edge(reading: Reading, number: Mention, edge: str) -> bool:
    """`20 px from the left`, `left edge at 20`, `left=20`: an offset is only taken where it is said to be one."""
    after = reading.masked[number.end : number.end + 32]
    before = reading.masked[max(0, number.start - 32) : number.start]
    return bool(
        re.match(rf"\s*(?:px|pixels?)?\s*(?:from|off|away from) (?:the )?{edge}\b", after, re.I)
        or re.search(rf"\b{edge}\s*(?:edge|offset|margin|position|at|of|is|=|:|\s)*$", before, re.I)
    )


def _noun_score(before: list, after: list, wanted: Traits, near: float) -> float:
    if wanted.limits:
        if _is_counted(after, wanted) or (after and is_superlative(after[0].text)):
            return _COUNTED
        if any(w.text in _TOP for w in (*before[:2], *after[:1])):
            return 1.0
    if near >= 1.5 or not after or after[0].text in STOP_WORDS:
        return 0.0
    # `3 recordings`, `2 copies`: the number counts something that is not this parameter.
    return -1.5 if after[0].stem in _DATA_STEMS or wanted.limits or wanted.unit else -0.6


def _as_type(value: float, parameter: Parameter, wanted: Traits, number: Mention) -> int | float | None:
    if parameter.type == "integer" or isinstance(value, float):
        if float(value).is_integer() and (parameter.type == "integer" or isinstance(number.value, int)):
            value = int(value)
        elif parameter.type == "integer":
            return None
    if wanted.unit == "factor" and "0 to 1" in parameter.description and not 0 <= value <= 1:
        return None
    said = _BOUNDS.match(parameter.description)
    if said is not None and not float(said[1]) <= value <= float(said[2]):
        return None
    if parameter.enum is not None and not any(value == e and not isinstance(e, bool) for e in parameter.enum):
        return None
    return value


def _signed(reading: Reading, number: Mention, parameter: Parameter, value: float) -> int | float:
    around = reading.masked[max(0, number.start - 40) : number.end + 40]
    clockwise = re.search(r"(?<!counter)(?<!anti)clockwise", parameter.description, re.I)
    if clockwise and value > 0 and _COUNTER.search(around):
        return -value
    if (
        "below full scale" in parameter.description.lower()
        and value > 0
        and _BELOW.search(reading.text[number.end : number.end + 20])
    ):
        return -value
    return value
