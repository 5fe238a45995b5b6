"""Which part of the instruction speaks of which task: clauses, and their owners by shared words and order."""

from __future__ import annotations

import bisect
import collections
import dataclasses
import functools
import re
from collections.abc import Sequence

from orchestai_jax.planner.arguments.lexicon import STOP_WORDS, VALUE_SYNONYMS, word_set
from orchestai_jax.planner.arguments.mentions import MASK
from orchestai_jax.planner.arguments.reading import Reading
from orchestai_jax.planner.arguments.traits import counterpart, traits
from orchestai_jax.planner.arguments.words import Word, content_stems, parts, stem, synonyms
from orchestai_jax.workflow.catalog import TaskType

_BOUNDARY = re.compile(
    r"[.!?](?=\s|$)|[,;:\n。，；！？、]"
    r"|\b(?:and|then|finally|afterwards?|next(?!\s+to\b)|plus|before|while|also|as well as|followed by"
    r"|once(?!\s+(?:by|per|for|each|with|as|in)\b)|lastly)\b"
)
_SENTENCE_END = frozenset(".!?\n;。！？")
_ID_WEIGHT, _SYNONYM_WEIGHT, _UNIT_WEIGHT, _OPTION_WEIGHT, _TEXT_WEIGHT = 3.0, 1.6, 1.6, 1.3, 0.8
_CLAIM = 0.6
"""A clause that names no task belongs to the tasks that share at least this much weight with it."""

_DETERMINERS = word_set("the that this those these both its")


@dataclasses.dataclass(frozen=True, slots=True)
class Clause:
    """[`start`, `end`) of the instruction; `sentence` counts sentences."""

    start: int
    end: int
    sentence: int


@dataclasses.dataclass(frozen=True)
class Alignment:
    """Clauses in order, the tasks that each may speak of, and for each task the position that names it (or None)."""

    clauses: tuple[Clause, ...]
    owners: tuple[frozenset[int], ...]
    anchors: tuple[int | None, ...]

    @functools.cached_property
    def _starts(self) -> list[int]:
        return [clause.start for clause in self.clauses]

    def clause_at(self, position: int) -> int:
        """Index of the clause that holds a position of the text."""
        return max(0, bisect.bisect_right(self._starts, position) - 1)

    def owns(self, task: int, position: int) -> bool:
        """Whether the clause at a position speaks of a task."""
        return task in self.owners[self.clause_at(position)]

    @functools.cached_property
    def of_task(self) -> tuple[tuple[int, ...], ...]:
        """For each task the indices of the clauses that it owns, in order."""
        table: list[list[int]] = [[] for _ in self.anchors]
        for index, tasks in enumerate(self.owners):
            for task in tasks:
                table[task].append(index)
        return tuple(map(tuple, table))


def split_clauses(masked: str) -> tuple[Clause, ...]:
    """Split a text at punctuation and at conjunctions, outside mentions; never empty. Linear in the text."""
    clauses: list[Clause] = []
    start = sentence = reached = 0
    content = False
    for match in _BOUNDARY.finditer(masked):
        # A conjunction begins the next clause, punctuation ends this one.
        end = match.start() if match.group()[0].isalpha() else match.end()
        # A clause of nothing but punctuation joins the next one; only what is new is looked at.
        content = content or bool(masked[reached:end].strip(" ,;:.!?\n"))
        reached = end
        if content:
            clauses.append(Clause(start, end, sentence))
            start, content = end, False
        if match.group() in _SENTENCE_END:
            sentence += 1
    if start < len(masked) or not clauses:
        clauses.append(Clause(start, len(masked), sentence))
    return tuple(clauses)


def task_words(task_type: TaskType) -> dict[str, float]:
    """Stem → weight of the words that tell of a task type: id, synonyms, options, description."""
    weights: dict[str, float] = collections.defaultdict(float)

    def add(stems: object, weight: float) -> None:
        for s in stems:  # type: ignore[attr-defined]
            weights[s] = max(weights[s], weight)

    add(content_stems(task_type.description), _TEXT_WEIGHT)
    for parameter in task_type.parameters:
        add(content_stems(parameter.name), _OPTION_WEIGHT)
        add(content_stems(parameter.description), _TEXT_WEIGHT / 2)
        for entry in parameter.enum or ():
            if isinstance(entry, str):
                add(content_stems(entry), _OPTION_WEIGHT)
                add((stem(w) for w in VALUE_SYNONYMS.get(entry.lower(), ()) if w.isalpha()), _TEXT_WEIGHT)
    for port in (*task_type.inputs, *task_type.outputs):
        add(content_stems(port.description), _TEXT_WEIGHT / 2)
    own = [stem(w) for w in parts(task_type.id) if w not in STOP_WORDS]
    for s in own:
        add(synonyms(s), _SYNONYM_WEIGHT)
    add(synonyms(stem(task_type.id.lower())), _SYNONYM_WEIGHT)
    add(own, _ID_WEIGHT)
    return dict(weights)


def align(reading: Reading, types: Sequence[TaskType]) -> Alignment:
    """Give every clause its owners and every task its anchor. Linear in the text times the tasks that share a word."""
    clauses = split_clauses(reading.masked)
    if len(types) <= 1:
        first = reading.words[0].start if reading.words else 0
        return Alignment(clauses, tuple(frozenset(range(len(types))) for _ in clauses), (first,) * len(types))
    by_stem = _weights_by_stem(types)
    scores, claims, spots = _scores(reading, clauses, by_stem)
    _add_units(reading, clauses, types, (scores, claims), spots)
    anchors = _anchors(clauses, scores, types)
    positions = tuple(
        None if clause is None else spots.get((clause, task), (0.0, clauses[clause].start))[1]
        for task, clause in enumerate(anchors)
    )
    return Alignment(clauses, _owners(clauses, scores, claims, anchors), positions)


def _weights_by_stem(types: Sequence[TaskType]) -> dict[str, list[tuple[int, float]]]:
    """Stem → (task, weight); a word that many of the planned task types share tells little about each."""
    table: dict[str, list[tuple[int, float]]] = collections.defaultdict(list)
    of_type = {t.id: task_words(t) for t in types}
    for task, task_type in enumerate(types):
        for s, weight in of_type[task_type.id].items():
            table[s].append((task, weight))
    shared = collections.Counter(s for words in of_type.values() for s in words)
    return {s: [(task, weight / shared[s] ** 1.5) for task, weight in tasks] for s, tasks in table.items()}


def _scores(
    reading: Reading, clauses: Sequence[Clause], by_stem: dict[str, list[tuple[int, float]]]
) -> tuple[list[dict[int, float]], list[dict[int, float]], dict[tuple[int, int], tuple[float, int]]]:
    """What each clause shares with each task; the same without `the chart`; and the place of the telling word."""
    scores: list[dict[int, float]] = [{} for _ in clauses]
    claims: list[dict[int, float]] = [{} for _ in clauses]
    seen: list[set[str]] = [set() for _ in clauses]
    spots: dict[tuple[int, int], tuple[float, int]] = {}
    at = 0
    for k, word in enumerate(reading.words):
        anaphoric = [  # lists are made in half of the time that any() takes over so few
            w
            for w in reading.words[max(0, k - 2) : k]
            if w.text in _DETERMINERS and MASK not in reading.masked[w.end : word.start]
        ]
        while at + 1 < len(clauses) and clauses[at + 1].start <= word.start:
            at += 1
        for s in _stems(word):
            if s in seen[at]:
                continue
            seen[at].add(s)
            for task, weight in by_stem.get(s, ()):
                scores[at][task] = scores[at].get(task, 0.0) + weight
                if not anaphoric:
                    claims[at][task] = claims[at].get(task, 0.0) + weight
                if weight > spots.get((at, task), (0.0, 0))[0]:
                    spots[at, task] = (weight, word.start)
    return scores, claims, spots


def _add_units(
    reading: Reading,
    clauses: Sequence[Clause],
    types: Sequence[TaskType],
    tables: tuple[list[dict[int, float]], ...],
    spots: dict[tuple[int, int], tuple[float, int]],
) -> None:
    """A number's unit speaks of the tasks that have a parameter in it, like a word: `and music.wav to 22050 Hz`."""
    starts = [clause.start for clause in clauses]
    for number in reading.mentions:
        if number.kind != "number" or number.unit in ("", "factor"):
            continue
        if number.unit == "s" and {w.text for w in reading.words_before(number.start, 1)} == {"in"}:
            continue  # `it starts in two minutes`
        fitting = [task for task, t in enumerate(types) if _takes(t, number.unit)]
        # `the first 8 seconds` is the end of a part, not the length of a pause.
        fitting = [task for task in fitting if number.role and _takes(types[task], number.unit, number.role)] or fitting
        if len({types[task].id for task in fitting}) != 1:
            continue  # a unit that several of the planned task types take tells them not apart
        at = max(0, bisect.bisect_right(starts, number.start) - 1)
        for task in fitting:
            for table in tables:
                table[at][task] = table[at].get(task, 0.0) + _UNIT_WEIGHT
            if spots.get((at, task), (0.0, 0))[0] < _UNIT_WEIGHT:
                spots[at, task] = (_UNIT_WEIGHT, number.start)


def _takes(task_type: TaskType, unit: str, role: str = "") -> bool:
    """Whether a task type has a numeric parameter that wants numbers in a unit (and in a role)."""
    for parameter in task_type.parameters:
        if parameter.type not in ("integer", "number"):
            continue
        wanted = traits(parameter, task_type)
        plays = not role or wanted.role == role or (role == "tail" and wanted.role == "start")
        if plays and wanted.unit and counterpart(1.0, unit, wanted) is not None:
            return True
    return False


def _stems(word: Word) -> set[str]:
    if word.text in STOP_WORDS and word.text != "per":
        return set()
    return {word.stem} if word.text.isalnum() else {word.stem, *content_stems(word.text)}


def _anchors(clauses: Sequence[Clause], scores: list[dict[int, float]], types: Sequence[TaskType]) -> list[int | None]:
    """For each task the clause that names it best; tasks of one type get different ones, in order, where there are."""
    anchors: list[int | None] = [None] * len(types)
    by_type: dict[str, list[int]] = collections.defaultdict(list)
    for task, task_type in enumerate(types):
        by_type[task_type.id].append(task)
    best_elsewhere = [max(s.values(), default=0.0) for s in scores]
    for tasks in by_type.values():
        member = tasks[0]
        # A clause that speaks better of another task is a weaker candidate than one that does not.
        candidates = sorted(
            ((s[member] - 0.5 * (best_elsewhere[i] - s[member]), -i) for i, s in enumerate(scores) if s.get(member)),
            reverse=True,
        )
        if not candidates:
            continue
        best = candidates[0][0]
        chosen = [-i for value, i in candidates[: len(tasks)] if value >= 0.5 * best or value == best]
        # `resize a.png to 800 and b.png to 400`: the second is named only by what it does differently.
        following = max(chosen) + 1
        while len(chosen) < len(tasks) and following < len(clauses):
            if best_elsewhere[following] < _CLAIM or scores[following].get(member, 0.0) == best_elsewhere[following]:
                chosen.append(following)
            else:
                break
            following += 1
        chosen.sort()
        for k, task in enumerate(tasks):
            anchors[task] = chosen[min(k, len(chosen) - 1)]
    return anchors


def _owners(
    clauses: Sequence[Clause],
    scores: list[dict[int, float]],
    claims: list[dict[int, float]],
    anchors: Sequence[int | None],
) -> tuple[frozenset[int], ...]:
    owners: list[set[int]] = [set() for _ in clauses]
    for task, clause in enumerate(anchors):
        if clause is not None:
            owners[clause].add(task)
    named = [bool(o) for o in owners]
    for index, of_clause in enumerate(claims):
        top = max(of_clause.values(), default=0.0)
        if not named[index] and top < _CLAIM <= max(scores[index].values(), default=0.0):
            # `… and put the chart and the summary in a report`: what is only referred to is the next task's matter.
            ahead = range(index + 1, min(index + 3, len(clauses)))
            owners[index] = next(
                (set(owners[j]) for j in ahead if named[j] and clauses[j].sentence == clauses[index].sentence), set()
            )
            if not owners[index]:
                of_clause, top = scores[index], max(scores[index].values())
        if named[index] or top < _CLAIM:
            continue
        tied = [task for task, value in of_clause.items() if value >= 0.95 * top]
        # Among tasks that are named alike, the one whose anchor is nearest before.
        before = [t for t in tied if (a := anchors[t]) is not None and a <= index]
        owners[index] = {max(before, key=lambda t: (anchors[t] or 0, -t))} if len(before) > 1 else set(tied)
    _inherit(clauses, owners)
    nameless = {task for task, clause in enumerate(anchors) if clause is None}
    if nameless:
        # Nothing in the text names these tasks: whatever no other task takes may be theirs.
        owners = [o | nameless for o in owners]
    return tuple(map(frozenset, owners))


def _inherit(clauses: Sequence[Clause], owners: list[set[int]]) -> None:
    """Clauses that speak of no task go on about the one before; those before the first speak of the first."""
    first = next((o for o in owners if o), set())
    leading_sentence = None
    for index, clause in enumerate(clauses):
        if owners[index]:
            leading_sentence = clause.sentence
            continue
        previous = owners[index - 1] if index else set()
        if previous and clause.sentence != leading_sentence:
            # A new sentence that opens without a task word introduces what its next clause says.
            following = next(
                (
                    owners[j]
                    for j in range(index + 1, min(index + 4, len(clauses)))
                    if clauses[j].sentence == clause.sentence and owners[j]
                ),
                None,
            )
            owners[index] = set(following) if following else set(previous)
        else:
            owners[index] = set(previous or first)
