"""The clauses of one task type, the values of slots, and the frames that clauses are put into."""

from __future__ import annotations

from typing import Annotated, Any

import pydantic
from pydantic import BaseModel, BeforeValidator, ConfigDict

from orchestai_jax.data.clause_grammar import Clause, parse_clause

KINDS = ("do", "short", "thing", "done", "ask", "need")
"""The kinds of clauses, see `TaskClauses`."""


def _as_lines(value: Any) -> Any:
    """A block of text is a list of its lines that are not blank."""
    return [line for line in value.splitlines() if line.strip()] if isinstance(value, str) else value


def _as_clause(value: Any) -> Any:
    return parse_clause(value) if isinstance(value, str) else value


Lines = Annotated[tuple[Annotated[Clause, BeforeValidator(_as_clause)], ...], BeforeValidator(_as_lines)]
"""Template lines: a list, or a block of text with one a line."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True, arbitrary_types_allowed=True)


class TaskClauses(_Frozen):
    """How people ask for one task type. Slots name its input ports, its parameters, or entries of `Templates.values`.

    Input ports that are filled but not named in a line are listed with the first one that is: with `zip {first}` and
    three files, `zip a.png, b.csv and the chart`. `{input}` stands for the first input port.
    """

    do: Lines
    """Imperatives: `crop {image} to a square`. Needed."""
    short: Lines = ()
    """Imperatives whose object the clause before has named: `crop to a square`."""
    thing: Lines = ()
    """Noun phrases for what comes out: `a square cut-out of {image}`. Also stand inside a consumer's clause."""
    done: Lines = ()
    """What the input is to be: `cropped to a square`."""
    ask: Lines = ()
    """Questions without their mark: `what is in the middle of {image}`."""
    need: Lines = ()
    """Sentences that only imply the task, without the full stop: `{image} has too much around the subject`."""
    names: tuple[str, ...] = ()
    """What later clauses call the result: `the cut-out`. Without them: `the output of the crop image step`."""

    @pydantic.field_validator("names", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        lines = _as_lines(value)
        return [line.strip() for line in lines] if isinstance(lines, list) and isinstance(value, str) else lines


class PoolValue(_Frozen):
    """One entry of a pool: how it reads in the instruction, and what it means as arguments.

    In YAML a bare scalar is short for `{say: scalar, value: scalar}`. `set` gives several parameters at once:
    `{say: "the amount is above 100", set: {column: amount, operator: ">", value: 100}}`.
    """

    say: str
    value: Any = None
    set: dict[str, Any] | None = None

    @pydantic.model_validator(mode="before")
    @classmethod
    def _from_scalar(cls, given: Any) -> Any:
        if isinstance(given, PoolValue):
            return given
        if isinstance(given, dict):
            if ("value" in given) == ("set" in given):
                raise ValueError("give either `value` or `set` beside `say`")
            return {"say": str(given["value"]), **given} if "say" not in given and "value" in given else given
        if given is None or isinstance(given, list):
            raise ValueError("expected a scalar, or a mapping with say and value or set")
        return {"say": str(given).lower() if isinstance(given, bool) else str(given), "value": given}
