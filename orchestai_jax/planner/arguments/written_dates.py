"""Dates and clock times as people write them, and the same in ISO 8601: `March 1, 2016`, `20/05/2022`, `3 PM`."""

from __future__ import annotations

import datetime
import re

_MONTHS = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
_MONTH = "|".join(f"{name}|{name[:3]}\\.?(?![a-z])" for name in _MONTHS) + "|sept\\.?(?![a-z])"
_DAY = r"(?:0?[1-9]|[12]\d|3[01])(?:st|nd|rd|th)?(?![\d:])"
_YEAR = r"(?:1[5-9]|20|21)\d\d(?!\d)"
_DATE = re.compile(
    rf"(?<![\w./-])(?:(?P<y1>{_YEAR})-(?P<m1>\d{{1,2}})-(?P<d1>\d{{1,2}})(?![\d-])"
    rf"|(?P<y2>{_YEAR})/(?P<m2>\d{{1,2}})/(?P<d2>\d{{1,2}})(?![\d/])"
    rf"|(?P<a3>\d{{1,2}})[/.-](?P<b3>\d{{1,2}})[/.-](?P<y3>{_YEAR})"
    rf"|(?P<n4>{_MONTH})\s(?P<d4>{_DAY})(?:,?\s(?:of\s)?(?P<y4>{_YEAR}))?"
    rf"|(?P<d5>{_DAY})\s(?:of\s)?(?P<n5>{_MONTH})(?:,?\s(?:of\s)?(?P<y5>{_YEAR}))?"
    rf"|(?P<n6>{_MONTH}),?\s(?:of\s)?(?P<y6>{_YEAR}))(?!\w)",
    re.IGNORECASE,
)
_TIME = re.compile(
    r"(?<![\w:.])(?P<h>\d{1,2})(?::(?P<m>[0-5]\d))?(?::[0-5]\d)?\s?(?P<half>[ap])\.?\s?m\b\.?"
    r"|(?<![\w:.])(?P<h2>[01]?\d|2[0-3]):(?P<m2>[0-5]\d)(?![\d:])",
    re.IGNORECASE,
)


def find_dates(text: str) -> list[tuple[int, int, str | None]]:
    """(start, end, ISO form) of each date of a text in order; None where the year is not said. Linear in the text.

    `03/04/2022` is read month first, as the data that planners are published on has it, where both readings are dates.
    A month with a year becomes `2020-03`.
    """
    found = []
    for match in _DATE.finditer(text):
        if match["n6"] is not None:
            iso: str | None = f"{match['y6']}-{_month(match['n6']):02d}"
        elif match["n4"] is not None or match["n5"] is not None:
            k = "4" if match["n4"] is not None else "5"
            day = int(re.sub(r"\D", "", match[f"d{k}"]))
            iso = _iso(match[f"y{k}"], _month(match[f"n{k}"]), day)
        elif match["y3"] is not None:
            a, b = int(match["a3"]), int(match["b3"])
            iso = _iso(match["y3"], a, b) or _iso(match["y3"], b, a)
        else:
            k = "1" if match["y1"] is not None else "2"
            iso = _iso(match[f"y{k}"], int(match[f"m{k}"]), int(match[f"d{k}"]))
        found.append((match.start(), match.end(), iso))
    return found


def find_times(text: str) -> list[tuple[int, int, str]]:
    """(start, end, `HH:MM`) of each clock time of a text in order. Linear in the text."""
    found = []
    for match in _TIME.finditer(text):
        hour, minute = int(match["h"] or match["h2"]), int(match["m"] or match["m2"] or 0)
        if match["half"] is not None:
            if not 1 <= hour <= 12:
                continue
            hour = hour % 12 + (12 if match["half"].lower() == "p" else 0)
        found.append((match.start(), match.end(), f"{hour:02d}:{minute:02d}"))
    return found


def _month(name: str) -> int:
    return next(i for i, month in enumerate(_MONTHS, start=1) if month.startswith(name.lower()[:3]))


def _iso(year: str | None, month: int, day: int) -> str | None:
    if year is None:
        return None
    try:
        return datetime.date(int(year), month, day).isoformat()
    except ValueError:
        return None
