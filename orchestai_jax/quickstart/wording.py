"""How people word what they want: the clauses, values and sentences of `templates.yaml`."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.resources
import re
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import yaml

from orchestai_jax.data.clause_grammar import Clause, parse_clause
from orchestai_jax.quickstart.plan_sampling import pick
from orchestai_jax.workflow import Catalog, TaskType

FORMS = ("do", "short", "thing", "done", "ask", "need", "names")
"""The kinds of clauses that a task type may have."""

PREFERENCES = ("fast", "quality", "cheap")
"""The preferences that have phrases, by the names of Preference.PRESETS."""

Part = Literal["train", "held_out"]

_HELD_OUT = 6
"""One clause in six is never used in training."""


Lines = tuple[Clause, ...]


class WordingError(ValueError):
    """Templates that cannot be used. The message names the task type and the clause."""


@dataclasses.dataclass(frozen=True)
class FileWording:
    """How files of one kind are named and mentioned."""

    nouns: Lines
    extensions: Lines
    stems: Lines
    unnamed: Lines


@dataclasses.dataclass(frozen=True)
class Wording:
    """All clauses and phrases. A clause is text with `(a|b|)` alternatives and `{slot}`s, see `templates.yaml`."""

    clauses: Mapping[str, Mapping[str, Lines]]
    """Task type → form → clauses."""
    values: Mapping[str, Lines]
    files: Mapping[str, FileWording]
    folders: Lines
    mentions: Mapping[str, Lines]
    """named, again, original, result, pair, all."""
    sentences: Mapping[str, Lines]
    preferences: Mapping[str, Mapping[str, Lines]]
    output_kinds: Mapping[str, str]
    """Task type → kind of file that its first output is, for the nouns of `files`."""
    looks_only: frozenset[str]
    """Task types that only look at their input: afterwards `it` still means the input."""

    def part(self, part: Part) -> Wording:
        """The wording with the clauses of one part only: those used in training, or those held out of it."""
        clauses = {
            task_type: {
                form: lines if form == "names" else _lines_of_part(form, lines, part) for form, lines in forms.items()
            }
            for task_type, forms in self.clauses.items()
        }
        return dataclasses.replace(self, clauses=clauses)

    def pick(self, task_type: str, form: str, rng: np.random.Generator) -> str | None:
        """A clause of a form, its alternatives chosen; None where the task type has none."""
        lines = self.clauses[task_type].get(form, ())
        return expand(pick(rng, lines), rng) if lines else None

    def has(self, task_type: str, form: str) -> bool:
        """Whether a task type has clauses of a form."""
        return bool(self.clauses[task_type].get(form))

    def value(self, task_type: str, parameter: str, rng: np.random.Generator) -> str:
        """A value for a slot that is no input: `task_type.parameter` before `parameter`."""
        lines = self.values.get(f"{task_type}.{parameter}") or self.values[parameter]
        return expand(pick(rng, lines), rng)

    def draw(self, lines: Lines, rng: np.random.Generator) -> str:
        """One of several clauses, its alternatives chosen."""
        return expand(pick(rng, lines), rng)

    def output_kind(self, task_type: str) -> str:
        """The kind of file that the result of a task type is called by ("file" where it is none)."""
        return self.output_kinds.get(task_type, "file")

    def sentence(self, kind: str, rng: np.random.Generator) -> str:
        """A frame or connective of a kind, its alternatives chosen."""
        return expand(pick(rng, self.sentences[kind]), rng)


def _lines_of_part(form: str, lines: Lines, part: Part) -> Lines:
    """Held out is one line in six, by the hash of its text; at least one of the forms that any request can use."""
    least = 1 if form in ("do", "thing") and len(lines) > 2 else 0
    ranked = sorted(lines, key=lambda line: hashlib.blake2b(line.source.encode(), digest_size=8).digest())
    held_out = {line.source for line in ranked[: max(len(lines) // _HELD_OUT, least)]}
    return tuple(line for line in lines if (line.source in held_out) == (part == "held_out"))


def expand(clause: Clause, rng: np.random.Generator) -> str:
    """A clause as text with its `{slot}`s, one of each `(a|b|)` chosen."""
    text = "".join(part if isinstance(part, str) else f"{{{part.name}}}" for part in clause.draw(rng))
    return re.sub(r" +([ ,.;?!])", r"\1", text).strip()


def load_wording(catalog: Catalog) -> Wording:
    """The wording that ships with the package, checked against its catalog."""
    text = importlib.resources.files("orchestai_jax.quickstart").joinpath("templates.yaml").read_text(encoding="utf-8")
    wording = _wording(yaml.safe_load(text), catalog)
    check_wording(wording, catalog)
    return wording


def _wording(content: Mapping[str, Any], catalog: Catalog) -> Wording:
    files = content["files"]
    return Wording(
        clauses={
            task_type: {form: _lines(text) for form, text in forms.items()}
            for task_type, forms in content["task_types"].items()
        },
        values={name: _lines(text) for name, text in content["values"].items()},
        files={
            kind: FileWording(*(_lines(given[name]) for name in ("nouns", "extensions", "stems", "unnamed")))
            for kind, given in files.items()
            if isinstance(given, dict)
        },
        folders=_lines(files["folders"]),
        mentions={name: _lines(files[name]) for name in ("named", "again", "original", "result", "pair", "all")},
        sentences={name: _lines(text) for name, text in content["sentences"].items()},
        preferences={
            name: {kind: _lines(text) for kind, text in kinds.items()} for name, kinds in content["preferences"].items()
        },
        looks_only=frozenset(t.id for t in catalog.task_types if _looks_only(t)),
        output_kinds={t.id: t.outputs[0].type for t in catalog.task_types if t.outputs[0].type in files},
    )


def _looks_only(task_type: TaskType) -> bool:
    """Whether the result is another kind of thing than the input, or a word about it."""
    return task_type.outputs[0].name != task_type.inputs[0].name and len(task_type.inputs) == 1


def check_wording(wording: Wording, catalog: Catalog) -> None:
    """Refuse wording that does not fit a catalog.

    Raises WordingError naming what is wrong: a task type without clauses or with too few, an unknown form, a slot that
    is neither an input nor a known value, a clause without its main input, unbalanced brackets.
    """
    unknown = set(wording.clauses) - set(catalog.index)
    if unknown:
        raise WordingError(f"templates: task type {min(unknown)!r} is not in the catalog {catalog.name!r}")
    for task_type in catalog.task_types:
        forms = wording.clauses.get(task_type.id)
        if not forms:
            raise WordingError(f"templates: task type {task_type.id!r} has no clauses")
        extra = set(forms) - set(FORMS)
        if extra:
            raise WordingError(f"templates: {task_type.id} has a form {min(extra)!r}; allowed: {', '.join(FORMS)}")
        main = task_type.inputs[0].name
        inputs = {port.name for port in task_type.inputs}
        for form, lines in forms.items():
            for line in lines:
                _check_line(wording, task_type.id, form, line, main, inputs)


def _check_line(wording: Wording, task_type: str, form: str, line: Clause, main: str, inputs: set[str]) -> None:
    where = f"templates: {task_type}, {form}, {line.source!r}"
    used = line.slots()
    for slot in used - set(inputs):
        if f"{task_type}.{slot}" not in wording.values and slot not in wording.values:
            raise WordingError(f"{where}: {{{slot}}} is neither an input nor a value")
    if form in ("do", "thing", "ask", "need") and main not in used:
        raise WordingError(f"{where}: does not say {{{main}}}, the input")
    if form in ("short", "done", "names") and used & set(inputs):
        raise WordingError(f"{where}: a clause of this form leaves the input out")


def _lines(text: Any) -> Lines:
    return tuple(parse_clause(line) for line in str(text).splitlines() if line.strip())
