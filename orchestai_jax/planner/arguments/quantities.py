"""Numbers that an instruction mentions, with unit and role: `300 px wide`, `from 5 to 12 s`, `1:30`, `half`."""

from __future__ import annotations

import re

from orchestai_jax.planner.arguments.lexicon import FACTOR_WORDS, NUMBER_WORDS, STOP_WORDS, UNITS
from orchestai_jax.planner.arguments.mentions import MAX_MENTIONS, Mention

# At most 18 digits: more are no parameter of anything, and the search stays linear.
_NUMBER = r"(?:\d{1,3}(?:,\d{3}){1,4}(?:\.\d{1,9})?|\d{1,15}(?:\.\d{1,9})?|\.\d{1,9})(?![\d])"
_WORDS = "|".join(sorted(NUMBER_WORDS, key=len, reverse=True))
_TENS = "twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety"
_DIGITS = "one|two|three|four|five|six|seven|eight|nine"
_ANY = rf"(?:(?:\d{{1,3}}|{_WORDS})\s(?:hundred|thousand)\b|(?:{_TENS})[\s-](?:{_DIGITS})\b|{_NUMBER}|(?:{_WORDS})\b)"
_UNIT = "|".join(re.escape(u) for u in sorted(UNITS, key=len, reverse=True))
_WITH_UNIT = rf"(?:[\s-]?({_UNIT})(?![\w]))?"
# The look-aheads at the first character spare most positions the long alternatives.
_START = rf"(?<![\w.,])(?=[\d.\-−+{''.join(sorted({w[0] for w in NUMBER_WORDS} | {'m'}))}])"

_CLOCK = r"\d{1,2}:\d{2}(?::\d{2})?(?:\.\d{1,3})?(?![\d:])(?!\s?[ap]\.?m\b)"
_SIZE = re.compile(
    rf"{_START}(\d{{1,6}})\s?(?:px|pixels?)?\s?(?:x|×|✕|\*|by)\s?(\d{{1,6}})(?:\s?(?:px|pixels?))?(?!\w)"
)
_CLOCK_RANGE = re.compile(rf"(?<![\w:.])({_CLOCK})\s?(?:-|–|—|to|until|till|and|through)\s?({_CLOCK})")
_CLOCK_ONE = re.compile(rf"(?<![\w:.])({_CLOCK})")
_UNIT_BEFORE = re.compile(r"\b(seconds?|secs?|minutes?|mins?)\s(?:from\s)?$")
_RANGE = re.compile(
    rf"{_START}(?<![-−])({_ANY}){_WITH_UNIT}\s?(?:-|–|—|to|until|till|through|and)\s?(?:second\s)?({_ANY}){_WITH_UNIT}(?!\w)"
)
_ONE = re.compile(
    rf"{_START}(?<!\w[-−])((?:minus\s|negative\s|[-−+])?)({_ANY})(?:\s?([kK])(?![\w])|{_WITH_UNIT})(?![\w])"
)
_FACTOR_START = "".join(sorted({w[0] for w in FACTOR_WORDS} | {"a"}))
_FACTOR = re.compile(
    rf"(?<![\w.,])(?=[{_FACTOR_START}])(an?\s)?({'|'.join(FACTOR_WORDS)})\b(?:\s(?:an?|of\san?)\s|[\s-])?"
    r"(?:(seconds?|minutes?|hours?|turns?|rotations?)(?!\w))?"
)
_A_UNIT = re.compile(
    r"(?<!\w)(?:a|an)\s(second|minute|hour)(?!\w)(?!\s(?:file|picture|image|table|recording|version|copy|one))"
)
_FIRST_UNIT = re.compile(
    r"\b(first|initial|opening|last|final|closing)\s(second|minute|hour)(?!\w)"
    r"(?!\s(?:file|picture|image|table|recording|version|copy|one|half|clip|song|track|part))"
)
_THE_TWO = re.compile(r"\b(?:the|these|those|them|other|this|that|which|each|every|another)\s$")
_ONE_BY_ONE = re.compile(r"\s(?:after\s(?:the\sother|another)|by\sone|of)\b")
_COMPOUND = re.compile(rf"(?:{_TENS})-(?:{_DIGITS})")
_NO_NOUN = re.compile(rf"\s*(?:$|[.,;:!?)]|(?:{'|'.join(sorted(w for w in STOP_WORDS if len(w) > 1))})\b)")
_FULL_TURN = re.compile(r"\bupside[\s-]down\b")

_START_CUE = re.compile(
    r"\b(?:from|start\w*|begin\w*|after|skip\w*|between)(?:\s(?:at|from|with|the|second|first))*\s?$"
)
_DROP_CUE = re.compile(
    r"\b(?:skip\w*|drop\w*|remov\w*|without|cut\w* off|discard\w*|delet\w*)\s"
    r"(?:(?:the\s)?(?:first|initial|opening)|(?:\w+\s){1,2}before)\s?$"
)
_END_CUE = re.compile(
    r"\b(?:until|till|up to|end\w*(?: at)?|stop\w*(?: at)?|(?:first|initial|opening))(?:\s(?:the|second))*\s?$"
)
_TAIL_CUE = re.compile(r"\b(?:last|final|closing)\s?$")
_WIDTH_AFTER = re.compile(r"^[\s-]?(?:in |of )?(?:wide|width|across|horizontally)\b")
_HEIGHT_AFTER = re.compile(r"^[\s-]?(?:in |of )?(?:tall|high|height|vertically)\b")
_LABEL_BEFORE = re.compile(r"\b(width|height)(?:\s(?:of|to|is|=|:|at|should be)|:|=)*\s?$")


def _number(text: str) -> int | float:
    text = text.lower()
    if text in NUMBER_WORDS:
        return int(NUMBER_WORDS[text])
    words = re.split(r"[\s-]", text)
    if len(words) == 2:
        first, second = (int(NUMBER_WORDS[w]) if w in NUMBER_WORDS else int(w) for w in words)
        return first * second if second >= 100 else first + second
    value = float(text.replace(",", ""))
    return int(value) if value.is_integer() and "." not in text else value


def _clock(text: str) -> int | float:
    seconds = 0.0
    for piece in text.split(":"):
        seconds = seconds * 60 + float(piece)
    return _tidy(seconds)


def _tidy(value: float) -> int | float:
    rounded = round(value, 9)
    return int(rounded) if rounded == int(rounded) and abs(rounded) < 1e15 else rounded


def find_quantities(masked: str) -> list[Mention]:
    """The numbers of a text in ASCII lower case in which other mentions are masked, in order. Linear in the text."""
    found: list[Mention] = []
    taken: list[tuple[int, int]] = []

    def add(start: int, end: int, value: int | float, unit: str, role: str = "") -> None:
        found.append(Mention("number", start, end, masked[start:end], value, unit, role))

    def free(match: re.Match[str]) -> bool:
        if len(found) >= MAX_MENTIONS or any(s < match.end() and match.start() < e for s, e in taken):
            return False
        taken.append(match.span())
        return True

    for match in _SIZE.finditer(masked):
        if free(match):
            add(match.start(1), match.end(1), int(match[1]), "px", "width")
            add(match.start(2), match.end(2), int(match[2]), "px", "height")
    for match in _CLOCK_RANGE.finditer(masked):
        if free(match):
            add(match.start(1), match.end(1), _clock(match[1]), "s", "start")
            add(match.start(2), match.end(2), _clock(match[2]), "s", "end")
    for match in _CLOCK_ONE.finditer(masked):
        if free(match):
            add(match.start(), match.end(), _clock(match[1]), "s", _time_role(masked, match.start()))
    for match in _RANGE.finditer(masked):
        between = masked[match.end(1) : match.start(3)]
        if _COMPOUND.fullmatch(masked, match.start(1), match.end(3)):
            continue  # `twenty-five`
        if "and" in between.lower() and not re.search(
            r"\bbetween\s(?:second\s)?$", masked[max(0, match.start() - 20) : match.start()]
        ):
            continue
        before = _UNIT_BEFORE.search(masked[max(0, match.start() - 20) : match.start()])
        # `5 to 12` without `from` and without a unit may be anything, but `5-12` and `seconds 5 to 12` are ranges.
        said = re.search(r"\b(?:from|between)\s(?:second\s)?$", masked[max(0, match.start() - 20) : match.start()])
        if said is None and before is None and match[4] is None and not re.search(r"[-–—]", between):
            continue
        if free(match):
            leading = before[1] if before else None
            second_unit = match[4] or match[2] or leading or ("s" if "second" in between else None)
            for group, unit_text, role in ((1, match[2] or second_unit, "start"), (3, second_unit, "end")):
                unit, factor = UNITS.get((unit_text or "").lower(), ("", 1.0))
                value = _number(match[group])
                add(match.start(group), match.end(group), value if factor == 1 else _tidy(value * factor), unit, role)
    for match in _FULL_TURN.finditer(masked):
        if free(match):
            add(match.start(), match.end(), 180, "deg")
    for match in _FACTOR.finditer(masked):
        word = match[2].lower()
        if word in ("third", "quarter") and not (match[1] or match[3]):
            continue  # the ordinal, the quarter of a year
        if word == "double" and masked[match.end() :].lstrip().lower().startswith("quot"):
            continue
        if free(match):
            unit, factor = UNITS[match[3].lower()] if match[3] else ("factor", 1.0)
            end = match.end(3) if match[3] else match.end(2)
            role = _time_role(masked, match.start()) if unit == "s" else ""
            add(match.start(), end, _tidy(FACTOR_WORDS[word] * factor), unit, role)
    for match in _ONE.finditer(masked):
        if _is_pronoun(masked, match) or not free(match):
            continue
        value = _number(match[2])
        unit, factor = ("", 1000.0) if match[3] else UNITS.get((match[4] or "").lower(), ("", 1.0))
        value = value if factor == 1 else _tidy(value * factor)
        if match[1] and match[1] != "+":
            value = -value
        if unit == "factor" and match[4].lower() == "x" and masked[match.end() : match.end() + 1].isdigit():
            unit = ""
        add(match.start(), match.end(), value, unit, _role(masked, match.start(), match.end(), unit))
    for match in _A_UNIT.finditer(masked):
        if free(match):
            unit, factor = UNITS[match[1].lower()]
            add(match.start(), match.end(), _tidy(factor), unit, _time_role(masked, match.start()))
    for match in _FIRST_UNIT.finditer(masked):
        if free(match):
            unit, factor = UNITS[match[2].lower()]
            role = "tail" if match[1] in ("last", "final", "closing") else _time_role(masked, match.start(2))
            add(match.start(2), match.end(2), _tidy(factor), unit, role)
    return sorted(found, key=lambda m: m.start)


def _is_pronoun(masked: str, match: re.Match[str]) -> bool:
    """`join the two.`, `how long do the two last`: two things that were named before, and no number of anything."""
    if match[2] not in ("one", "two", "three") or match[3] or match[4]:
        return False
    if match[2] == "one" and _ONE_BY_ONE.match(masked, match.end()):
        return True
    before = masked[max(0, match.start() - 10) : match.start()]
    return bool(_THE_TWO.search(before) and _NO_NOUN.match(masked, match.end()))


def _role(text: str, start: int, end: int, unit: str) -> str:
    if unit == "s":
        return _time_role(text, start)
    after, before = text[end : end + 24], text[max(0, start - 32) : start]
    if _WIDTH_AFTER.match(after):
        return "width"
    if _HEIGHT_AFTER.match(after):
        return "height"
    labelled = _LABEL_BEFORE.search(before)
    if labelled:
        return labelled[1].lower()
    return _time_role(text, start, bare=True) if unit == "" else ""


def _time_role(text: str, start: int, bare: bool = False) -> str:
    before = text[max(0, start - 40) : start]
    if _DROP_CUE.search(before):
        return "start"
    if not bare and _TAIL_CUE.search(before):
        return "tail"
    if not bare and _END_CUE.search(before):
        return "end"
    if not bare and _START_CUE.search(before):
        return "start"
    return ""
