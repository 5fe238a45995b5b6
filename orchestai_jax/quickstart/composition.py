"""Puts plans into words: the instruction that somebody might have typed to get this plan."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Sequence

import numpy as np

from orchestai_jax.quickstart.mentions import Telling
from orchestai_jax.quickstart.plan_sampling import FileInput, Input, Plan, TaskInput
from orchestai_jax.quickstart.wording import Wording


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """An instruction, and a clause of its own for each task of the plan."""

    text: str
    step_texts: tuple[str, ...]


def compose(plan: Plan, wording: Wording, rng: np.random.Generator, preference: str | None = None) -> Request:
    """Word a plan. `preference` is stated by a phrase where given: "fast", "quality" or "cheap"."""
    telling = Telling(plan, wording, rng)
    writer = _Writer(plan, wording, rng, telling)
    sentences = writer.sentences()
    text = writer.dress(sentences, preference)
    return Request(text, tuple(telling.step_text(i) for i in range(len(plan))))


class _Writer:
    """Chooses how the tasks of one plan are spread over sentences, and their forms."""

    def __init__(self, plan: Plan, wording: Wording, rng: np.random.Generator, telling: Telling) -> None:
        self._plan, self._wording, self._rng, self._telling = plan, wording, rng, telling

    def _chance(self, probability: float) -> bool:
        return bool(self._rng.random() < probability)

    def sentences(self) -> list[str]:
        """Sentences with their marks, not capitalised yet."""
        nested = self._nested()
        units = [i for i in range(len(self._plan)) if i not in nested]
        if self._one_subject(units) and all(self._wording.has(self._type(i), "short") for i in units) and not nested:
            if self._chance(0.07 if len(units) > 1 else 0.02):
                return [self._terse(units)]
            if self._chance(0.16):
                return self._led(units)
        if len(units) == 2 and units[0] in self._plan[units[1]].producers and self._chance(0.14):
            return [self._reversed(*units)]
        return self._told(units)

    def _told(self, units: Sequence[int]) -> list[str]:
        sentences: list[str] = []
        place = 0
        while place < len(units):
            group, kind = self._group(units[place:], first=place == 0)
            sentence = getattr(self, f"_{kind}")(group)
            if place and kind == "do" and self._chance(0.35):
                follows = self._telling.depends_on_told(group[0], units[:place])
                link = self._wording.sentence("follow" if follows else "also", self._rng)
                sentence = f"{link} {_lowered(sentence)}"
            sentences.append(sentence)
            place += len(group)
        return sentences

    def _type(self, task: int) -> str:
        return self._plan[task].task_type

    def _nested(self) -> set[int]:
        """Tasks that are told inside the clause of the one task that needs them, as a noun phrase."""
        nested = set()
        for i, task in enumerate(self._plan[:-1]):
            consumers = [j for j, other in enumerate(self._plan) if i in other.producers]
            if len(consumers) == 1 and self._wording.has(task.task_type, "thing") and self._chance(0.24):
                nested.add(i)
        self._telling.nested = nested
        return nested

    def _one_subject(self, units: Sequence[int]) -> bool:
        """Whether the units are about one file: each takes it, or the result of the unit before, and nothing else."""
        first = self._plan[units[0]].inputs
        if len(first) != 1 or not isinstance(first[0][1], FileInput):
            return False
        for before, unit in itertools.pairwise(units):
            inputs = self._plan[unit].inputs
            if len(inputs) != 1 or not self._continues(before, unit):
                return False
        return True

    def _continues(self, before: int, task: int) -> bool:
        """Whether a task takes what `it` means after the one before."""
        looked_at = self._type(before) in self._wording.looks_only
        return self._plan[task].producers == (before,) or (
            looked_at and self._plan[task].inputs[0][1] == self._plan[before].inputs[0][1]
        )

    def _group(self, units: Sequence[int], *, first: bool) -> tuple[list[int], str]:
        """The tasks of the next sentence and its kind."""
        has = self._wording.has
        kind = str(self._rng.choice(["do", "thing", "done", "ask", "need"], p=[0.55, 0.17, 0.1, 0.1, 0.08]))
        size = 1 + int(self._rng.choice(4, p=[0.3, 0.42, 0.2, 0.08]))
        group = list(units[:size])
        if kind == "done":
            while len(group) > 1 and not self._same_subject(group):
                group.pop()
            nests = any(set(self._plan[i].producers) & self._telling.nested for i in group)
            if not nests and self._same_subject(group) and all(has(self._type(i), "done") for i in group):
                return group, kind
        if kind == "thing":
            while len(group) > 1 and any(set(self._plan[i].producers) & set(group) for i in group):
                group.pop()
            if all(has(self._type(i), "thing") for i in group):
                return group, kind
        if kind == "ask" and has(self._type(units[0]), "ask"):
            return group[:1], kind
        if kind == "need" and has(self._type(units[0]), "need") and (first or self._chance(0.3)):
            return group[:1], kind
        return list(units[:size]), "do"

    def _same_subject(self, group: Sequence[int]) -> bool:
        return all(len(self._plan[i].inputs) == 1 for i in group) and all(
            self._continues(before, i) for before, i in itertools.pairwise(group)
        )

    def _do(self, group: Sequence[int]) -> str:
        text = ""
        for place, task in enumerate(group):
            follows = self._telling.depends_on_told(task, group[:place])
            clause = self._telling.clause(task, "short" if self._short_is_clear(task) and self._chance(0.4) else "do")
            if place == 0:
                text = clause
                continue
            last = place == len(group) - 1
            kind = "last" if last and follows else "between" if follows else "parallel"
            if not last and not follows:
                kind = "between"
            text = attach(text, self._wording.sentence(kind, self._rng), clause)
        return self._framed("do", text)

    def _short_is_clear(self, task: int) -> bool:
        """Whether a clause without its object is understood: the object was told just before."""
        inputs = self._plan[task].inputs
        return (
            len(inputs) == 1 and self._telling.is_topic(inputs[0][1]) and self._wording.has(self._type(task), "short")
        )

    def _thing(self, group: Sequence[int]) -> str:
        things = [self._telling.clause(task, "thing") for task in group]
        return self._framed("thing", listed(shared_tail(things), both=self._chance(0.3)))

    def _done(self, group: Sequence[int]) -> str:
        subject = self._telling.mention(self._plan[group[0]].inputs[0][1])
        parts = [self._telling.clause(task, "done") for task in group]
        joined = (
            listed(parts)
            if self._chance(0.7)
            else attach(", ".join(parts[:-1]), ", then", parts[-1])
            if len(parts) > 1
            else parts[0]
        )
        return self._framed("done", joined).replace("{f}", subject)

    def _ask(self, group: Sequence[int]) -> str:
        return self._framed("ask", self._telling.clause(group[0], "ask"))

    def _need(self, group: Sequence[int]) -> str:
        return self._framed("need", self._telling.clause(group[0], "need"))

    def _reversed(self, earlier: int, later: int) -> str:
        """The second task first: it names the file, the first one says `it`."""
        source = next((s for _, s in self._plan[earlier].inputs if isinstance(s, FileInput)), None)
        stands_for: dict[Input, Input] = {TaskInput(earlier, self._type(earlier)): source} if source else {}
        b = self._telling.clause(later, "do", stands_for)
        a = self._telling.clause(earlier, "do")
        return self._wording.sentence("reversed", self._rng).replace("{a}", a).replace("{b}", b)

    def _led(self, units: Sequence[int]) -> list[str]:
        """`Take photo.png and crop it …`, `I have a recording. Cut …`."""
        lead = self._wording.sentence("lead", self._rng)
        lead = lead.replace("{f}", self._telling.mention(self._plan[units[0]].inputs[0][1]))
        rest = self._told_plainly(units)
        return [lead, *rest] if lead.endswith(".") else [f"{lead} {rest[0]}", *rest[1:]]

    def _told_plainly(self, units: Sequence[int]) -> list[str]:
        split = int(self._rng.integers(1, len(units) + 1))
        groups = [units[:split], units[split:]]
        sentences = []
        for group in groups:
            if group:
                text = ""
                for place, task in enumerate(group):
                    clause = self._telling.clause(task, "short" if self._chance(0.6) else "do")
                    last = place == len(group) - 1
                    text = (
                        attach(text, self._wording.sentence("last" if last else "between", self._rng), clause)
                        if text
                        else clause
                    )
                sentences.append(f"{text}.")
        return sentences

    def _terse(self, units: Sequence[int]) -> str:
        """A list of steps with hardly a word around it."""
        subject = self._telling.mention(self._plan[units[0]].inputs[0][1])
        steps = [self._telling.clause(task, "short") for task in units]
        style = int(self._rng.integers(7))
        numbered = [f"{i + 1}. {step}" for i, step in enumerate(steps)]
        dashed = [f"- {step}" for step in steps]
        return (
            f"{subject}: {', '.join(steps)}",
            f"{subject} -> {' -> '.join(steps)}",
            f"{subject}: {' '.join(numbered)}",
            f"For {subject}:\n" + "\n".join(numbered),
            f"{subject}\n" + "\n".join(dashed),
            f"Steps for {subject}: {'; '.join(steps)}",
            f"{', '.join(steps)} ({subject})",
        )[style]

    def _framed(self, kind: str, text: str) -> str:
        frame = self._wording.sentence(kind, self._rng)
        awkward = ". " in text or re.search(r"^(tell|show|give|get|read|let|find out)\b", text)
        if kind == "do" and awkward and frame.count(" ") > 1:
            frame = "{x}."  # several sentences fit no question, and `I want to tell me` is not said
        return frame.replace("{x}", text)

    def dress(self, sentences: list[str], preference: str | None) -> str:
        """Add what says nothing about the tasks, the preference, and capital letters."""
        word = self._wording.sentence
        if self._chance(0.08):
            sentences[-1] = _inside(sentences[-1], word("purpose", self._rng))
        if preference is not None:
            phrases = self._wording.preferences[preference]
            if self._chance(0.55):
                sentences[-1] = _inside(sentences[-1], self._wording.draw(phrases["inline"], self._rng))
            else:
                place = 0 if self._chance(0.25) else len(sentences)
                sentences.insert(place, self._wording.draw(phrases["sentence"], self._rng))
        if self._chance(0.1):
            sentences.insert(0 if self._chance(0.7) else len(sentences), word("context", self._rng))
        if self._chance(0.1):
            sentences.append(word("closer", self._rng))
        casual = self._chance(0.18)
        sentences[:-1] = [s if s[-1] in ".?!:" else f"{s}." for s in sentences[:-1]]
        text = " ".join(s if casual else _capitalised(s) for s in sentences)
        if self._chance(0.1):
            text = f"{word('opener', self._rng)} {text if self._chance(0.5) else text[:1].lower() + text[1:]}"
        if casual and self._chance(0.5):
            text = text.rstrip(".")
        return text


def attach(left: str, connective: str, right: str) -> str:
    """Put a connective between two clauses; punctuation that it starts with follows directly."""
    gap = "" if connective[:1] in ",;." else " "
    return f"{left}{gap}{connective} {right}"


def listed(parts: Sequence[str], *, both: bool = False) -> str:
    """`a`, `a and b`, `a, b and c`; `both a and b` on wish."""
    if len(parts) == 1:
        return parts[0]
    text = f"{', '.join(parts[:-1])} and {parts[-1]}"
    return f"both {text}" if both and len(parts) == 2 else text


def shared_tail(things: Sequence[str]) -> list[str]:
    """Say a shared end once: `a copy of x`, `a palette of x` become `a copy`, `a palette of x`."""
    result = list(things)
    for i in range(len(result) - 1):
        head, preposition, tail = result[i].partition(" of ")
        if preposition and result[i + 1].endswith(f" of {tail}") and len(head.split()) > 1:
            result[i] = head
    return result


def _inside(sentence: str, phrase: str) -> str:
    """A phrase at the end of a sentence, before its mark."""
    match = re.fullmatch(r"(.*?)([.?!]*)", sentence, re.DOTALL)
    assert match is not None
    return f"{match[1]}{'' if phrase.startswith(',') else ' '}{phrase}{match[2]}"


def _lowered(sentence: str) -> str:
    first = re.split(r"[ ']", sentence, maxsplit=1)[0]
    return sentence if first == "I" or not first[1:].islower() else sentence[:1].lower() + sentence[1:]


def _capitalised(sentence: str) -> str:
    first = sentence.split(" ", 1)[0]
    return sentence if re.search(r"\.\w|[_/]", first) else sentence[:1].upper() + sentence[1:]
