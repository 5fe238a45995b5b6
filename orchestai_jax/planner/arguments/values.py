"""Fills parameters: every mention is scored for the parameters of the tasks that its clause speaks of."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Collection, Hashable, Iterator, Sequence
from typing import Any

from orchestai_jax.planner.arguments.choices import find_boolean, find_choice
from orchestai_jax.planner.arguments.clauses import Alignment
from orchestai_jax.planner.arguments.columns import ColumnMention, find_columns
from orchestai_jax.planner.arguments.conditions import Condition, find_conditions
from orchestai_jax.planner.arguments.lexicon import word_set
from orchestai_jax.planner.arguments.mentions import Mention
from orchestai_jax.planner.arguments.number_values import number_score
from orchestai_jax.planner.arguments.reading import Reading
from orchestai_jax.planner.arguments.replacements import replacements
from orchestai_jax.planner.arguments.text_values import text_candidates
from orchestai_jax.planner.arguments.traits import Traits, canonical_operator, traits
from orchestai_jax.planner.arguments.words import Word
from orchestai_jax.workflow.catalog import Parameter, TaskType

STRONG, WEAK = 2.0, 1.0
"""Scores from which a value is taken: before the input ports are filled, and after."""

NUMERIC = ("integer", "number")

_MAX_WORDS = 2000
_INVERSE = {">": "<=", "<=": ">", "<": ">=", ">=": "<", "==": "!=", "!=": "=="}
_REMOVING = word_set(
    "drop dropping remove removing exclude excluding delete deleting discard discarding omit omitting skip"
)
_KEEPING = word_set("keep keeping retain only select show want give get filter find")
_COLUMN_SCORES: dict[str, dict[str, float]] = {
    "sort by": {"sort": 4.0, "any": 2.0},
    "group by": {"group": 4.0, "x": 2.0},
    "by": {"group": 3.0, "sort": 3.0, "x": 3.0, "join": 2.5, "unique": 2.5, "any": 2.0},
    "per": {"group": 3.0, "x": 2.5},
    "over": {"x": 3.5},
    "on": {"join": 3.5, "unique": 2.5},
    "using": {"join": 3.0, "unique": 2.5, "sort": 2.2, "any": 2.0},
    "unique": {"unique": 3.0},
    "function": {"measure": 3.2},
    "x": {"x": 4.0},
    "y": {"y": 4.0},
    "column": {"unique": 2.6, "join": 2.6, "any": 2.6, "measure": 2.1, "test": 2.2, "sort": 2.1, "y": 2.1},
    "measure": {"measure": 3.0, "y": 3.0},
    "first": {"sort": 3.0},
    "shown": {"y": 2.5},
    "list": {},
}
"""How well a column that stands at a cue suits each role of a parameter."""


@dataclasses.dataclass(frozen=True, slots=True)
class Candidate:
    """A value for a parameter of a task; `keys` name the mentions that it uses up."""

    score: float
    task: int
    parameter: str
    keys: tuple[Hashable, ...]
    value: Any


class ParameterFiller:
    """Values for the parameters of tasks, taken from one reading of an instruction."""

    def __init__(self, reading: Reading, alignment: Alignment, types: Sequence[TaskType]):
        self.reading, self.alignment, self.types = reading, alignment, types
        self.values: list[dict[str, Any]] = [{} for _ in types]
        self.used: set[Hashable] = set()
        self._parameters = [t.parameters for t in types]
        self._weak: list[Candidate] = []

    def fill_strong(self) -> None:
        """Conditions, `replace A with B`, and everything with a clear sign; the rest waits for `fill_weak`."""
        self._fill_conditions()
        self._fill_replacements()
        candidates = [
            candidate
            for task in range(len(self.types))
            for parameter in self._parameters[task]
            if parameter.name not in self.values[task]
            for candidate in self._candidates(task, parameter)
            if literal_fits(parameter, candidate.value)
        ]
        candidates.sort(key=lambda c: -c.score)  # stable: between equals the earlier task and parameter
        self._weak = [c for c in candidates if c.score < STRONG]
        self._take(c for c in candidates if c.score >= STRONG)
        self._take(c for c in self._weak if isinstance(c.value, int | float))

    def fill_weak(self) -> None:
        """What only stands in a task's clause, with no sign what for, unless an input port has taken it since."""
        self._take(self._weak)
        self._take(sorted(self._stray_numbers(), key=lambda c: -c.score))

    def share_among_siblings(self, edges: Collection[tuple[int, int]]) -> None:
        """`blur a.png and b.png with radius 5`: what is said once holds for tasks of one type in one sentence."""
        for task, task_type in enumerate(self.types):
            for other in range(len(self.types)):
                if other == task or self.types[other].id != task_type.id or self.values[task]:
                    continue
                apart = (task, other) not in edges and (other, task) not in edges
                if apart and self.values[other] and self._sentence(task) == self._sentence(other):
                    self.values[task] = dict(self.values[other])
        self._share_columns(edges)

    def _share_columns(self, edges: Collection[tuple[int, int]]) -> None:
        """`the sum of total once by segment and once by city`: the column and the function hold for both."""
        said = [dict(values) for values in self.values]
        for task, task_type in enumerate(self.types):
            for other in range(task):
                apart = (task, other) not in edges and (other, task) not in edges
                if self.types[other].id != task_type.id or not apart or self._sentence(task) != self._sentence(other):
                    continue
                for parameter in task_type.parameters:
                    if traits(parameter, task_type).column or parameter.enum is not None:
                        for here, there in ((task, other), (other, task)):
                            if parameter.name in said[there]:
                                self.values[here].setdefault(parameter.name, said[there][parameter.name])

    def _sentence(self, task: int) -> int | None:
        anchor = self.alignment.anchors[task]
        return None if anchor is None else self.alignment.clauses[self.alignment.clause_at(anchor)].sentence

    def _take(self, candidates: Sequence[Candidate] | Iterator[Candidate]) -> None:
        for candidate in candidates:
            if candidate.parameter in self.values[candidate.task] or self.used.intersection(candidate.keys):
                continue
            if candidate.score >= WEAK:
                self.values[candidate.task][candidate.parameter] = candidate.value
                self.used.update(candidate.keys)

    def _spans(self, task: int) -> list[tuple[int, int]]:
        """The stretches of the text that speak of a task, neighbouring clauses joined."""
        spans: list[tuple[int, int]] = []
        for index in self.alignment.of_task[task]:
            clause = self.alignment.clauses[index]
            if spans and spans[-1][1] == clause.start:
                spans[-1] = (spans[-1][0], clause.end)
            else:
                spans.append((clause.start, clause.end))
        return spans

    def _words(self, task: int) -> list[Word]:
        words: list[Word] = []
        for start, end in self._spans(task):
            words += self.reading.words_in(start, end, _MAX_WORDS - len(words))
            if len(words) >= _MAX_WORDS:
                break
        return words

    def _owned(self, task: int, position: int) -> bool:
        return self.alignment.owns(task, position)

    def _far(self, task: int, position: int) -> float:
        """A small penalty that grows with the distance from where the text names the task."""
        anchor = self.alignment.anchors[task]
        if anchor is None:
            return 0.0
        # `a report titled "X" from the chart`: what is said belongs rather to what is named before it.
        return min(0.5, abs(position - anchor) / 400 + (0.2 if anchor > position else 0.0))

    def _candidates(self, task: int, parameter: Parameter) -> Iterator[Candidate]:
        wanted = traits(parameter, self.types[task])
        if wanted.condition:
            return
        if parameter.type == "boolean":
            yield from self._boolean(task, parameter)
        elif parameter.enum is not None and any(isinstance(e, str) for e in parameter.enum):
            yield from self._choice(task, parameter)
        elif wanted.column:
            yield from self._columns(task, parameter, wanted)
        elif parameter.type == "path":
            yield from self._paths(task, parameter)
        elif parameter.type in NUMERIC:
            yield from self._numbers(task, parameter, wanted)
        elif parameter.type in ("string", "url", "any"):
            for score, value, position in text_candidates(self.reading, parameter, wanted, self._spans(task)):
                key = ("mention", position)
                near = max(score - self._far(task, position) / 2, min(score, WEAK))
                yield Candidate(near, task, parameter.name, (key,), value)
            if parameter.type == "any":
                yield from self._numbers(task, parameter, wanted)

    def _boolean(self, task: int, parameter: Parameter) -> Iterator[Candidate]:
        found = find_boolean(parameter, self._words(task))
        if found is not None:
            yield Candidate(found[1], task, parameter.name, (), found[0])

    def _choice(self, task: int, parameter: Parameter) -> Iterator[Candidate]:
        written = [m for m in self._mentions(task, "file") if m.role == "output" and "." in m.text]
        words = [Word(m.start, m.end, e := m.text.rpartition(".")[2].lower(), e) for m in written]
        found = find_choice(parameter.enum or (), words) or find_choice(parameter.enum or (), self._words(task))
        if found is not None:
            yield Candidate(found[1], task, parameter.name, (), found[0])

    def _columns(self, task: int, parameter: Parameter, wanted: Traits) -> Iterator[Candidate]:
        for column in self._column_mentions:
            if not self._owned(task, column.start):
                continue
            listed = column.cue == "list"
            score = (4.0 if wanted.plural else 0.0) if listed else _COLUMN_SCORES[column.cue].get(wanted.column, 0.0)
            if wanted.plural and column.cue == "column":
                score = 2.0
            if score < STRONG or (len(column.names) > 1 and not wanted.plural):
                continue
            names = list(column.names)
            value: Any = names if parameter.type in ("array",) else ",".join(names)
            score -= self._far(task, column.start) / 10
            yield Candidate(score + 0.2 * len(names), task, parameter.name, (("column", column.start),), value)

    def _paths(self, task: int, parameter: Parameter) -> Iterator[Candidate]:
        writes = any(word in parameter.name.lower() for word in ("out", "dest", "target", "save"))
        for mention in self._mentions(task, "file"):
            if (mention.role == "output") == writes:
                yield Candidate(STRONG, task, parameter.name, (("mention", mention.start),), mention.text)

    def _numbers(self, task: int, parameter: Parameter, wanted: Traits) -> Iterator[Candidate]:
        for mention in self._mentions(task, "number"):
            scored = number_score(self.reading, mention, parameter, wanted)
            if scored is not None:
                score = scored[0] - self._far(task, mention.start)
                # What is at least said within the task's own clause counts, however far from its name.
                score = max(score, WEAK) if scored[0] >= WEAK else score
                yield Candidate(score, task, parameter.name, (("mention", mention.start),), scored[1])

    def _stray_numbers(self) -> Iterator[Candidate]:
        """Numbers with a telling unit or name that no task of their own clause wanted."""
        left = [m for m in self.reading.mentions if m.kind == "number" and ("mention", m.start) not in self.used]
        wanting = {t for t, parameters in enumerate(self._parameters) if any(p.type in NUMERIC for p in parameters)}
        for task in range(len(self.types)):
            for parameter in self._parameters[task]:
                if parameter.type not in NUMERIC or parameter.name in self.values[task]:
                    continue
                wanted = traits(parameter, self.types[task])
                for mention in left:
                    if wanted.condition or self._owned(task, mention.start):
                        continue
                    scored = number_score(self.reading, mention, parameter, wanted)
                    # Where the clause's own tasks take no number at all, less of a sign will do.
                    owners = self.alignment.owners[self.alignment.clause_at(mention.start)]
                    if scored is not None and scored[0] >= (STRONG + 1.5 if owners & wanting else STRONG):
                        yield Candidate(
                            max(scored[0] - 2, WEAK), task, parameter.name, (("mention", mention.start),), scored[1]
                        )

    def _mentions(self, task: int, kind: str) -> list[Mention]:
        return [m for m in self.reading.mentions if m.kind == kind and self._owned(task, m.start)]

    @functools.cached_property
    def _column_mentions(self) -> list[ColumnMention]:
        return find_columns(self.reading)

    def _fill_conditions(self) -> None:
        tasks = [
            t for t in range(len(self.types)) if any(traits(p, self.types[t]).condition for p in self._parameters[t])
        ]
        if not tasks:
            return
        conditions = find_conditions(self.reading)
        for task in tasks:
            # A written comparison on a named column first, then whatever comes first in the task's own clauses.
            ranked = []
            for condition in conditions:
                own = self._owned(task, condition.value_start)
                named = condition.column is not None
                if ("mention", condition.value_start) in self.used:
                    continue
                if condition.column is None and not condition.certain:
                    continue
                if own or (condition.certain and named):
                    ranked.append(((not own, not named, not condition.certain, condition.start), condition))
            if ranked:
                self._apply(task, min(ranked, key=lambda pair: pair[0])[1])

    def _apply(self, task: int, condition: Condition) -> None:
        filled: dict[str, Any] = {}
        operator = condition.operator
        if self._removes(condition) and "keep" in self.types[task].description.lower():
            if operator not in _INVERSE:
                return  # `drop what contains x` cannot be said with an operator that keeps
            operator = _INVERSE[operator]
        for parameter in self._parameters[task]:
            wanted = traits(parameter, self.types[task])
            if wanted.condition == "operator":
                if parameter.enum is None:
                    filled[parameter.name] = operator
                    continue
                entry = next((e for e in parameter.enum if canonical_operator(e) == operator), None)
                if entry is None:
                    return  # this task type cannot compare so
                filled[parameter.name] = entry
            elif wanted.condition == "value":
                value = condition.value
                filled[parameter.name] = str(value) if parameter.type == "string" else value
            elif wanted.column and condition.column is not None and not any(k in filled for k in ("column", "field")):
                filled[parameter.name] = condition.column
        by_name = {p.name: p for p in self._parameters[task]}
        self.values[task].update({k: v for k, v in filled.items() if literal_fits(by_name[k], v)})
        # The condition's words are no number, text or column for anybody else.
        inside = [m for m in self.reading.mentions if condition.start <= m.start < condition.end]
        self.used.update(("mention", m.start) for m in inside)
        self.used.add(("mention", condition.value_start))
        self.used.add(("column", condition.start))

    def _removes(self, condition: Condition) -> bool:
        """Whether the rows that meet the condition are to go: `drop all rows with a price below 2`."""
        before = [w.text for w in self.reading.words_before(condition.start, 10)]
        for k, word in enumerate(before):
            if word in _REMOVING or (word == "out" and before[k + 1 : k + 2] in (["filter"], ["leave"], ["throw"])):
                return True
            if word in _KEEPING:
                return False
        return False

    def _fill_replacements(self) -> None:
        pairs = None
        for task, parameters in enumerate(self._parameters):
            by_role = {traits(p, self.types[task]).text: p for p in parameters if p.type == "string"}
            if "find" not in by_role:
                continue
            pairs = replacements(self.reading) if pairs is None else pairs
            free = [pair for pair in pairs if ("mention", pair[0].start) not in self.used]
            own = [pair for pair in free if self._owned(task, pair[0].start)]
            alone = sum(t.id == self.types[task].id for t in self.types) == 1
            for old, new in own or (free if alone else []):
                self.values[task][by_role["find"].name] = old.text
                self.used.add(("mention", old.start))
                if new is not None and "replacement" in by_role:
                    self.values[task][by_role["replacement"].name] = new.text
                    self.used.add(("mention", new.start))
                break


def literal_fits(parameter: Parameter, value: Any) -> bool:
    """Whether a literal may stand in a parameter: its type, and its enumeration where there is one."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    fits = {
        "string": isinstance(value, str),
        "path": isinstance(value, str),
        "url": isinstance(value, str),
        "integer": number and float(value).is_integer(),
        "number": number,
        "boolean": isinstance(value, bool),
        "array": isinstance(value, list),
        "object": isinstance(value, dict),
        "any": True,
    }[parameter.type]
    if not fits or parameter.enum is None:
        return fits
    return any(value == e and isinstance(value, bool) == isinstance(e, bool) for e in parameter.enum)
