"""How long a service asks to be left alone: `Retry-After` and the rate-limit headers of OpenAI's protocol."""

from __future__ import annotations

import datetime
import email.utils
import re
from collections.abc import Mapping

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


def retry_after(headers: Mapping[str, str], now: datetime.datetime | None = None) -> float | None:
    """Seconds to wait before the next try, None where the answer asks for none or writes nonsense.

    `retry-after-ms` (milliseconds), then `Retry-After`: seconds or an HTTP date (RFC 9110, section 10.2.3).
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    seconds = _number(value)
    if seconds is not None or not value:
        return seconds
    try:
        at = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=datetime.UTC)
    return max(0.0, (at - (now or datetime.datetime.now(datetime.UTC))).total_seconds())


def exhausted_until(headers: Mapping[str, str]) -> float | None:
    """Seconds until a limit that an answer says is used up is renewed, None where none is.

    `x-ratelimit-remaining-requests: 0` beside `x-ratelimit-reset-requests: 1m2s`, and the same of tokens.
    """
    waits = []
    for what in ("requests", "tokens"):
        remaining = _number(headers.get(f"x-ratelimit-remaining-{what}"))
        if remaining is not None and remaining <= 0:
            waits.append(duration(headers.get(f"x-ratelimit-reset-{what}")))
    return max((wait for wait in waits if wait is not None), default=None)


def duration(text: str | None) -> float | None:
    """`6m0s`, `20ms`, `1.5s` or a bare number of seconds; None for anything else."""
    if not text:
        return None
    bare = _number(text)
    if bare is not None:
        return bare
    parts = _DURATION.findall(text)
    if "".join(number + unit for number, unit in parts) != text.strip():
        return None
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def _number(text: str | None) -> float | None:
    if text is None or not re.fullmatch(r"\s*\d{1,12}(\.\d+)?\s*", text):
        return None
    return float(text)
