"""What is raised for every configuration that cannot be used."""

import difflib
from collections.abc import Iterable


class ConfigError(ValueError):
    """A configuration is wrong. One line: where, what was given, what is allowed."""


def did_you_mean(given: str, allowed: Iterable[str]) -> str:
    """`" (did you mean x?)"` for the nearest allowed word, an empty string where none is near."""
    near = difflib.get_close_matches(given, list(allowed), n=1, cutoff=0.6)
    return f" (did you mean {near[0]}?)" if near else ""
