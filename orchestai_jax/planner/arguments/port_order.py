"""The order of what fills ports of one type: as the text mentions it, turned by `after`, the old version first."""

from __future__ import annotations

import re
from collections.abc import Mapping

from orchestai_jax.planner.arguments.fitting import result_words
from orchestai_jax.planner.arguments.task_words import ONE, ORIGINAL, TaskWords
from orchestai_jax.workflow.catalog import Port
from orchestai_jax.workflow.workflow import Reference, Value

Filler = Reference | Value

_BEHIND = re.compile(r"\b(?:after|behind|(?:to|on) the right of|(?:to|at) the end of)\s(?:the\s)?\W*$")
_APPENDED = re.compile(r"\b(?:append|attach|tack|add|glue)\w*\s(?:the\s|that\s)?\W*$")
_TO = re.compile(r"^\W*(?:on\s)?(?:on)?to\s(?:the\s)?\W*$")
_BASE = re.compile(r"\b(?:compared|relative|in\scontrast|in\scomparison)\s(?:with|to)\s(?:the\s)?\W*$")
_DIFFERING = ("differ", "chang", "deviat", "alter")
_OLD, _NEW = (
    re.compile(r"\b(?:old|older|original|before)\b", re.I),
    re.compile(r"\b(?:new|newer|changed|after)\b", re.I),
)


def in_order(said: TaskWords, task: int, ports: Mapping[str, Port], filled: Mapping[str, Filler]) -> dict[str, Filler]:
    """Fillers of ports of one type in the order in which the task's clauses mention them."""
    ordered = dict(filled)
    for data_type in {p.type for p in ports.values()}:
        names = [n for n, p in ports.items() if p.type == data_type and n in filled]
        fillers = sorted((filled[n] for n in names), key=lambda f: _mentioned_at(said, task, f))
        if len(fillers) == 2 and (
            _is_turned(said, task, fillers, [ports[n].description for n in names])
            or _is_old(said, task, fillers, [ports[n].description for n in names])
        ):
            fillers.reverse()
        ordered.update(zip(names, fillers, strict=True))
    return {name: ordered[name] for name in ports if name in ordered}


def _is_turned(said: TaskWords, task: int, fillers: list[Filler], descriptions: list[str]) -> bool:
    """`bells.wav after voice.wav`, `append bells.wav to voice.wav`, `what is new in b.md compared with a.md`."""
    start, end = (_mentioned_at(said, task, f)[0] for f in fillers)
    first = fillers[0]
    if not 0 <= start < end <= len(said.reading.text) or not isinstance(first, Value):
        return False
    own = [f for f in said.files[task] if f.text == first.value]
    if not own:
        return False
    between = said.reading.masked[own[0].end : end]
    if len(between) > 60 or re.search(r"[.;!?]", between):
        return False
    if _BEHIND.search(between) or (_BASE.search(between) and _old_and_new(descriptions)):
        return True
    return bool(_TO.match(between) and _APPENDED.search(said.reading.masked[max(0, start - 24) : start]))


def _old_and_new(descriptions: list[str]) -> bool:
    return bool(_OLD.search(descriptions[0]) and _NEW.search(descriptions[1]))


def _is_old(said: TaskWords, task: int, fillers: list[Filler], descriptions: list[str]) -> bool:
    """`show which lines differ from the original`: what was made is the new version."""
    if not _old_and_new(descriptions):
        return False
    made, file = fillers
    if not isinstance(made, Reference) or not isinstance(file, Value) or not said.original(task):
        return False
    original = next(w.start for w in said.words[task] if w.text in ORIGINAL)
    before = [w for w in said.words[task] if w.start < original]
    if any(w.text.startswith(_DIFFERING) for w in before) and not any(w.text.startswith("compar") for w in before):
        return True
    # `compare the summary with the original` keeps the order in which it names them.
    of_made = result_words(said.types[int(made.task[1:]) - 1])
    return not any(w.stem in of_made or w.text in ONE for w in before)


def _mentioned_at(said: TaskWords, task: int, filler: Filler) -> tuple[int, int]:
    text = said.reading.text
    if isinstance(filler, Value):
        own = [f.start for f in said.files[task] if f.text == filler.value]
        if own:
            return own[0], 0
        if said.original(task):
            return next(w.start for w in said.words[task] if w.text in ORIGINAL), 0
        return next((m.start for m in said.reading.mentions if m.text == filler.value), len(text)), 0
    producer = int(filler.task[1:]) - 1
    places = (_named_at(said, task, producer), said.alignment.anchors[producer])
    return next((p for p in places if p is not None), -1), producer


def _named_at(said: TaskWords, task: int, producer: int) -> int | None:
    """Where a task's clauses name an earlier result, by a word of its own or by a pronoun."""
    words = said.words[task]
    own = result_words(said.types[task])
    named = next((w.start for w in words if w.stem in said.distinctive[producer] and w.stem not in own), None)
    return named if named is not None else next((w.start for w in words if w.text in ONE), None)
