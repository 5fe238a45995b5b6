"""Composes an instruction from the clauses of a plan: order, connectives, nesting, frames, politeness."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import numpy as np

from orchestai_jax.data.clause_grammar import Clause, Slot
from orchestai_jax.data.clause_wording import ClauseWriter, Wording, tidy
from orchestai_jax.data.plan_draft import Draft, Upstream

_SENTENCE_END = re.compile(r"[.?!]$")
_NESTED, _PARTICIPLE, _REVERSED, _NUMBERED, _OPENER, _CLOSER = 0.2, 0.15, 0.12, 0.05, 0.06, 0.12
_SHORT = 0.3
_STATEMENT = {"thing": 0.15, "ask": 0.12, "need": 0.1}
"""How often each way of putting it is chosen where it is possible; the rest are imperatives."""


@dataclasses.dataclass(frozen=True, slots=True)
class Composition:
    """An instruction, with each task's own clause and the parameters that it gives."""

    instruction: str
    step_texts: tuple[str, ...]
    parameters: tuple[dict[str, Any], ...]


@dataclasses.dataclass(slots=True)
class _Unit:
    """A clause of the instruction: `kind` is do, thing, done, ask or need; `last` the task whose result it leaves."""

    kind: str
    text: str
    tasks: list[int]
    last: int
    subject: str = ""


def compose(draft: Draft, writer: ClauseWriter, polite: float, rng: np.random.Generator) -> Composition | None:
    """Words a plan. None where some task has no line that suits how it is filled.

    `polite` is the share of imperatives that get a frame (`could you …?`) other than the bare clause.
    """
    wordings: dict[int, Wording] = {}
    nested = _nested(draft, writer, wordings, rng)
    units: list[_Unit] = []
    position = 0
    while position < len(draft.tasks):
        if position in nested:
            position += 1
            continue
        unit = None
        if rng.random() < _PARTICIPLE:
            unit = _participles(draft, position, nested, writer, wordings, rng)
        unit = unit or _clause(draft, position, units, nested, writer, wordings, rng)
        if unit is None:
            return None
        units.append(unit)
        position = unit.last + 1
    order = range(len(draft.tasks))
    instruction = _sentences(draft, units, writer, polite, rng)
    frames = writer.view.templates.frames
    if frames.openers and rng.random() < _OPENER:
        instruction = f"{frames.openers[int(rng.integers(len(frames.openers)))]} {instruction}"
    if frames.closers and rng.random() < _CLOSER:
        instruction = f"{instruction} {frames.closers[int(rng.integers(len(frames.closers)))]}"
    return Composition(
        instruction,
        tuple(wordings[i].text for i in order),
        tuple(wordings[i].parameters for i in order),
    )


def _nested(
    draft: Draft, writer: ClauseWriter, wordings: dict[int, Wording], rng: np.random.Generator
) -> dict[int, str]:
    """Tasks that stand as a noun phrase inside their one consumer's clause: `zip (a summary of notes.txt)`."""
    nested: dict[int, str] = {}
    for position, task in enumerate(draft.tasks):
        consumers = draft.consumers(position)
        if len(consumers) != 1 or task.producers or rng.random() >= _NESTED:
            continue
        if not any(isinstance(f, Upstream) and f.task == position for f in draft.tasks[consumers[0]].fills.values()):
            continue
        mentions = {name: writer.mention(draft, position, name, None, rng) for name in task.fills}
        wording = writer.write("thing", draft, position, mentions, rng)
        if wording is not None:
            wordings[position] = wording
            nested[position] = wording.text
    return nested


def _mentions(
    draft: Draft,
    position: int,
    near: int | None,
    nested: dict[int, str],
    writer: ClauseWriter,
    rng: np.random.Generator,
) -> dict[str, str]:
    fills = draft.tasks[position].fills
    # A pronoun beside other inputs (`join it and the table`) is hard to read: only a lone input gets one.
    close = near if len(fills) == 1 else None
    return {
        name: nested[fill.task]
        if isinstance(fill, Upstream) and fill.task in nested
        else writer.mention(draft, position, name, close, rng)
        for name, fill in fills.items()
    }


def _participles(
    draft: Draft,
    start: int,
    nested: dict[int, str],
    writer: ClauseWriter,
    wordings: dict[int, Wording],
    rng: np.random.Generator,
) -> _Unit | None:
    """A run of tasks said of one subject: `photo.png` + `resized to 200 pixels, blurred and turned grey`."""
    first = draft.tasks[start]
    if len(first.fills) != 1 or any(isinstance(f, Upstream) for f in first.fills.values()):
        return None
    [name] = first.fills
    subject = writer.mention(draft, start, name, None, rng)
    run: list[Wording] = []
    position = start
    while position < len(draft.tasks):
        task = draft.tasks[position]
        follows = position == start or (task.producers == {position - 1} and len(task.fills) == 1)
        wording = writer.write("done", draft, position, dict.fromkeys(task.fills, subject), rng) if follows else None
        if wording is None or position in nested:
            break
        run.append(wording)
        position += 1
        if len(draft.consumers(position - 1)) != 1:
            break
    if not run:
        return None
    wordings.update({start + i: wording for i, wording in enumerate(run)})
    texts = [wording.text for wording in run]
    text = texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {'then ' * (rng.random() < 0.4)}{texts[-1]}"
    return _Unit("done", text, list(range(start, position)), position - 1, subject)


def _clause(
    draft: Draft,
    position: int,
    units: list[_Unit],
    nested: dict[int, str],
    writer: ClauseWriter,
    wordings: dict[int, Wording],
    rng: np.random.Generator,
) -> _Unit | None:
    near = units[-1].last if units else None
    producers = draft.tasks[position].producers
    if near is not None and producers == {near} and len(draft.tasks[position].fills) == 1 and rng.random() < _SHORT:
        fills = dict.fromkeys(draft.tasks[position].fills, "it")
        wording = writer.write("short", draft, position, fills, rng)
        if wording is not None:
            wordings[position] = wording
            return _Unit("do", wording.text, [position], position)
    kinds = [kind for kind, share in _STATEMENT.items() if rng.random() < share]
    for kind in [*kinds, "do", *_STATEMENT]:
        mentions = _mentions(draft, position, near, nested, writer, rng)
        wording = writer.write(kind, draft, position, mentions, rng)
        if wording is not None:
            wordings[position] = wording
            return _Unit(kind, wording.text, [position], position)
    return None


def _sentences(draft: Draft, units: list[_Unit], writer: ClauseWriter, polite: float, rng: np.random.Generator) -> str:
    frames = writer.view.templates.frames
    only_do = all(unit.kind == "do" for unit in units)
    if only_do and len(units) == 2 and draft.edges and frames.reversed and rng.random() < _REVERSED:
        line = frames.reversed[int(rng.integers(len(frames.reversed)))]
        return _capital(_put(line, {"earlier": units[0].text, "later": units[1].text}, rng))
    if only_do and len(units) > 2 and rng.random() < _NUMBERED:
        return " ".join(f"{i}. {_capital(unit.text)}." for i, unit in enumerate(units, start=1))
    sentences: list[str] = []
    start = 0
    while start < len(units):
        end = start + 1
        while end < len(units) and units[start].kind == units[end].kind == "do":
            end += 1
        run = units[start:end]
        frame = _frame(run[0].kind, writer, polite, rng)
        opening = ""
        if sentences:
            opening = _opening(draft, units[:start], run[0], rng)
        if run[0].kind == "do":
            joined = _joined(draft, run, writer, bool(sentences), rng)
            head, dot, tail = _split_sentence(joined)
            text = _put(frame, {"do": head}, rng)
            if dot:
                text = f"{text} {tail if _SENTENCE_END.search(tail) else tail + '.'}"
        else:
            text = _put(frame, {run[0].kind: run[0].text, "subject": run[0].subject}, rng)
        sentences.append(_capital(f"{opening}{text}"))
        start = end
    return " ".join(sentences)


def _joined(draft: Draft, run: list[_Unit], writer: ClauseWriter, later: bool, rng: np.random.Generator) -> str:
    """Imperatives one after the other, each with a connective that suits how it follows from the one before."""
    frames = writer.view.templates.frames
    text = run[0].text
    for i in range(1, len(run)):
        uses = any(set(run[i].tasks) & set(draft.consumers(task)) for task in run[i - 1].tasks)
        connectives = frames.then if uses else frames.also
        if i == len(run) - 1 and len(run) + later > 2 and uses and rng.random() < 0.3:
            connectives = frames.finally_
        connective = connectives[int(rng.integers(len(connectives)))] if connectives else ". "
        clause = run[i].text
        text += connective + (_capital(clause) if connective.rstrip().endswith((".", "!", "?")) else clause)
    return text


def _opening(draft: Draft, before: list[_Unit], unit: _Unit, rng: np.random.Generator) -> str:
    """A word that opens a new sentence, where a frame does not open it itself."""
    if unit.kind != "do" or rng.random() < 0.5:
        return ""
    uses = any(set(unit.tasks) & set(draft.consumers(task)) for earlier in before for task in earlier.tasks)
    options = ("Then ", "After that, ", "Next, ") if uses else ("Also, ", "In addition, ", "And ")
    return options[int(rng.integers(len(options)))]


def _frame(kind: str, writer: ClauseWriter, polite: float, rng: np.random.Generator) -> Clause:
    lines = getattr(writer.view.templates.frames, kind)
    if kind == "do" and rng.random() >= polite:
        return lines[0]
    return lines[int(rng.integers(len(lines)))]


def _put(line: Clause, words: dict[str, str], rng: np.random.Generator) -> str:
    return tidy("".join(words[part.name] if isinstance(part, Slot) else part for part in line.draw(rng)))


def _split_sentence(text: str) -> tuple[str, str, str]:
    """The first sentence of joined clauses goes into the frame, the others after it."""
    match = re.search(r"\.\s+(?=[A-Z])", text)
    return (text[: match.start()], ".", text[match.end() :]) if match else (text, "", "")


def _capital(text: str) -> str:
    """Capitalises a sentence, but no file name, address or code."""
    head = text.split(" ", 1)[0]
    plain = head.rstrip(".,;:!?").isalpha() or "'" in head[1:]
    return text[:1].upper() + text[1:] if plain else text
