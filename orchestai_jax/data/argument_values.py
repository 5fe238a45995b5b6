"""When two values of an argument are the same: case, outer blanks and quotes do not count, numbers are numbers."""

from __future__ import annotations

import json
from typing import Any

_QUOTES = "'\"“”‘’`«»"


def normal_form(value: Any) -> tuple[str, Any]:
    """A hashable form that equal values share: `"Paris "` and `paris`, `"86"` and 86, lists entry by entry.

    Booleans are no numbers. A number's form is rounded to six places.
    """
    if isinstance(value, bool):
        return "boolean", value
    if isinstance(value, int | float):
        return "number", round(float(value), 6)
    if isinstance(value, list | tuple):
        return "list", tuple(map(normal_form, value))
    if isinstance(value, dict):
        return "object", json.dumps(value, sort_keys=True, ensure_ascii=False, default=str).casefold()
    text = " ".join(str(value).strip().strip(_QUOTES).split()).casefold()
    try:
        number = float(text.replace(",", ""))
    except ValueError:
        return "text", text
    # `nan` and `infinity` are words here
    return ("number", round(number, 6)) if any(c.isdigit() for c in text) and abs(number) < 1e300 else ("text", text)
