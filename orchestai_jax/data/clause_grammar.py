"""The little language of clause templates: alternatives in parentheses and slots in braces."""

from __future__ import annotations

import dataclasses
import re

import numpy as np

from orchestai_jax.data.data_error import DataError

_SLOT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclasses.dataclass(frozen=True, slots=True)
class Slot:
    """A place to fill: `{name}`."""

    name: str


@dataclasses.dataclass(frozen=True, slots=True)
class Choice:
    """Alternatives of which one is taken: `(a|b|)`."""

    options: tuple[tuple[Part, ...], ...]


Part = str | Slot | Choice


@dataclasses.dataclass(frozen=True, slots=True)
class Clause:
    """A parsed template line; `source` is the line itself."""

    source: str
    parts: tuple[Part, ...]

    def slots(self) -> frozenset[str]:
        """The names of all slots, in whichever alternative they stand."""
        return frozenset(_slots(self.parts))

    def draw(self, rng: np.random.Generator) -> list[str | Slot]:
        """The line with one alternative taken at random everywhere: text and slots in turn."""
        drawn: list[str | Slot] = []
        _draw(self.parts, rng, drawn)
        return drawn


def parse_clause(line: str) -> Clause:
    """Parses a template line: `(a|b|)` takes one alternative (they may nest), `{name}` is a slot.

    Parentheses without a bar are plain text.

    Raises:
      DataError: a brace or parenthesis without its partner, a slot whose name is not an identifier, an empty line.
    """
    text = " ".join(line.split())
    if not text:
        raise DataError("an empty template line")
    options, position = _options(text, 0, nested=False)
    if position != len(text):
        raise DataError(f"template `{text}`: `{text[position]}` at column {position + 1} without its partner")
    return Clause(text, options[0])


def _options(text: str, position: int, *, nested: bool) -> tuple[list[tuple[Part, ...]], int]:
    options: list[tuple[Part, ...]] = []
    parts: list[Part] = []
    plain = ""
    while position < len(text):
        character = text[position]
        if character == ")" or (character == "|" and not nested):
            break
        if character in "({":
            parts += [plain] if plain else []
            plain = ""
        if character == "|":
            options.append((*parts, plain) if plain else tuple(parts))
            parts, plain, position = [], "", position + 1
        elif character == "(":
            inner, end = _options(text, position + 1, nested=True)
            if end >= len(text):
                raise DataError(f"template `{text}`: `(` at column {position + 1} is never closed")
            parts += [Choice(tuple(inner))] if len(inner) > 1 else ["(", *inner[0], ")"]
            position = end + 1
        elif character == "{":
            end = text.find("}", position)
            name = text[position + 1 : end]
            if end < 0 or not _SLOT.fullmatch(name):
                raise DataError(f"template `{text}`: column {position + 1} starts no slot such as {{name}}")
            parts.append(Slot(name))
            position = end + 1
        elif character == "}":
            raise DataError(f"template `{text}`: `}}` at column {position + 1} without its partner")
        else:
            plain += character
            position += 1
    options.append((*parts, plain) if plain else tuple(parts))
    return options, position


def _slots(parts: tuple[Part, ...]) -> list[str]:
    names: list[str] = []
    for part in parts:
        if isinstance(part, Slot):
            names.append(part.name)
        elif isinstance(part, Choice):
            for option in part.options:
                names += _slots(option)
    return names


def _draw(parts: tuple[Part, ...], rng: np.random.Generator, drawn: list[str | Slot]) -> None:
    for part in parts:
        if isinstance(part, Choice):
            _draw(part.options[int(rng.integers(len(part.options)))], rng, drawn)
        else:
            drawn.append(part)
