"""Words one task of a draft: a clause of a kind, its slots filled, its inputs mentioned."""

from __future__ import annotations

import dataclasses
import re
from typing import Any, Literal

import numpy as np

from orchestai_jax.data.clause_grammar import Clause, Slot
from orchestai_jax.data.plan_draft import CatalogView, Draft
from orchestai_jax.data.template_clauses import PoolValue
from orchestai_jax.workflow.catalog import TaskType, describe

TemplateSplit = Literal["train", "held_out", "all"]

_WORD = re.compile(r"[A-Za-z]+")
_DRAWS = 6
_VOWEL = re.compile(r"\b([Aa]) (?=[aeiouAEIOU])(?!u[ns][aei]|eu|one)")


@dataclasses.dataclass(frozen=True, slots=True)
class Wording:
    """A worded clause and the parameters that it gave values to."""

    text: str
    parameters: dict[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class ClauseWriter:
    """Words clauses from templates; `split` says which lines of each list may be used."""

    view: CatalogView
    split: TemplateSplit
    held_out_every: int
    paraphrase: float
    """Probability with which a word that has synonyms is replaced by one."""

    def lines(self, task_type: TaskType, kind: str) -> list[Clause]:
        """The lines of a kind that this split may use."""
        lines = list(getattr(self.view.clauses(task_type), kind))
        if self.split == "all":
            return lines
        held_out = held_out_positions(len(lines), self.held_out_every)
        return [line for i, line in enumerate(lines) if (i in held_out) == (self.split == "held_out")]

    def write(
        self, kind: str, draft: Draft, position: int, mentions: dict[str, str], rng: np.random.Generator
    ) -> Wording | None:
        """Words a task with a random line of a kind.

        `mentions` has the words for each filled input, by name. None where no line suits what is filled: each line must
        have words for all its input slots and values for all its parameters, and give every required parameter.
        """
        task = draft.tasks[position]
        lines = self.lines(task.task_type, kind)
        for index in rng.permutation(len(lines))[:_DRAWS]:
            wording = self._fill(lines[int(index)], task.task_type, mentions, kind in ("short", "done"), rng)
            if wording is not None:
                return wording
        return None

    def mention(self, draft: Draft, position: int, name: str, near: int | None, rng: np.random.Generator) -> str:
        """Words for one filled input: the file, a pronoun where task `near` was worded just before, else a name."""
        task = draft.tasks[position]
        fill = task.fills[name]
        frames = self.view.templates.frames
        port = next((p for p in self.view.ports(task.task_type) if p.name == name), None)
        kind = port.type if port is not None else "any"
        if isinstance(fill, PoolValue):
            earlier = (t.fills.values() for t in draft.tasks[:position])
            again = frames.again.get(kind, ())
            if again and any(fill == other for fills in earlier for other in fills) and rng.random() < 0.5:
                return _one(again, rng)
            lines = frames.mentions.get(kind) or frames.mentions.get("any") or ()
            drawn = lines[int(rng.integers(len(lines)))].draw(rng) if lines and task.task_type.inputs else [fill.say]
            return "".join(fill.say if isinstance(part, Slot) else part for part in drawn)
        producer = draft.tasks[fill.task].task_type
        names = self.view.clauses(producer).names
        if fill.task == near:
            output = next((o.type for o in producer.outputs if o.name == fill.output), kind)
            pronouns = frames.pronouns.get(output) or frames.pronouns.get("any") or ("it",)
            return _one(names if names and rng.random() < 0.3 else pronouns, rng)
        return _one(names, rng) if names else f"the output of the {_words(producer)} step"

    def _fill(
        self, clause: Clause, task_type: TaskType, mentions: dict[str, str], implicit: bool, rng: np.random.Generator
    ) -> Wording | None:
        drawn = clause.draw(rng)
        ports = [port.name for port in self.view.ports(task_type)]
        slots = [_port_of(part.name, ports) for part in drawn if isinstance(part, Slot)]
        inputs = [slot for slot in slots if slot in ports]
        if not implicit and mentions and not inputs:
            return None
        listed = dict(mentions)
        rest = [words for name, words in mentions.items() if name not in inputs]
        if rest and inputs:
            # Inputs that the line does not name stand with the first one that it does name.
            own = [listed[inputs[0]]] if inputs[0] in listed else []
            listed[inputs[0]] = join_words([*own, *rest])
        parameters: dict[str, Any] = {}
        words: dict[str, str] = {}
        for slot in dict.fromkeys(slots):
            if slot in ports:
                if slot not in listed:
                    return None
                words[slot] = listed[slot]
                continue
            pool = self.view.values(task_type, slot)
            if not pool:
                return None
            entry = pool[int(rng.integers(len(pool)))]
            given = entry.set if entry.set is not None else {slot: entry.value}
            if any(name in parameters and parameters[name] != value for name, value in given.items()):
                return None
            parameters.update(given)
            words[slot] = entry.say
        missing = set(self.view.needed(task_type)) - set(parameters) - set(mentions)
        if missing:
            return None
        text = "".join(
            words[_port_of(part.name, ports)] if isinstance(part, Slot) else self._paraphrase(part, rng)
            for part in drawn
        )
        return Wording(_VOWEL.sub(r"\1n ", tidy(text)), parameters)

    def _paraphrase(self, text: str, rng: np.random.Generator) -> str:
        synonyms = self.view.templates.synonyms

        def swap(match: re.Match[str]) -> str:
            options = synonyms.get(match[0].lower())
            if not options or rng.random() >= self.paraphrase:
                return match[0]
            word = _one(options, rng)
            return word[0].upper() + word[1:] if match[0][0].isupper() else word

        return _WORD.sub(swap, text) if synonyms else text


def held_out_positions(n: int, every: int) -> frozenset[int]:
    """Which of `n` lines are held out: each `every`-th; the last one of shorter lists, none of a single line."""
    positions = frozenset(range(every - 1, n, every))
    return positions or (frozenset({n - 1}) if n > 1 else frozenset())


def join_words(words: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def tidy(text: str) -> str:
    """One blank between words, none before punctuation that closes."""
    return re.sub(r"\s+([,;?!])", r"\1", " ".join(text.split()))


def _port_of(slot: str, ports: list[str]) -> str:
    return ports[0] if slot == "input" and "input" not in ports and ports else slot


def _words(task_type: TaskType) -> str:
    return describe(task_type.id, "")


def _one(options: tuple[str, ...], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]
