"""What the clauses of each task say about its inputs: files, pronouns, earlier results that they name."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

from orchestai_jax.planner.arguments.clauses import Alignment
from orchestai_jax.planner.arguments.fitting import GOOD, file_fit, result_words
from orchestai_jax.planner.arguments.lexicon import STOP_WORDS, word_set
from orchestai_jax.planner.arguments.mentions import MAX_MENTIONS, Mention
from orchestai_jax.planner.arguments.reading import Reading
from orchestai_jax.planner.arguments.words import Word
from orchestai_jax.workflow.catalog import TaskType

ONE = word_set("it its this that result output outcome thereof resulting")
_SEVERAL = word_set("them both all everything these those results outputs each")
_DETERMINERS = word_set("the that this both resulting its their new finished and")
ORIGINAL = word_set("original originals source unchanged untouched raw old")
_MAX_WORDS = 2000


class TaskWords:
    """Words and files of the clauses that speak of each task."""

    def __init__(self, reading: Reading, alignment: Alignment, types: Sequence[TaskType]):
        self.reading, self.alignment, self.types = reading, alignment, types
        self.all_files = [m for m in reading.mentions if m.kind == "file" and m.role != "output"][:MAX_MENTIONS]

    @functools.cached_property
    def words(self) -> list[list[Word]]:
        """For each task the words of its clauses in order."""
        table: list[list[Word]] = []
        for task in range(len(self.types)):
            words: list[Word] = []
            for index in self.alignment.of_task[task]:
                clause = self.alignment.clauses[index]
                words += self.reading.words_in(clause.start, clause.end, _MAX_WORDS - len(words))
                if len(words) >= _MAX_WORDS:
                    break
            table.append(words)
        return table

    @functools.cached_property
    def files(self) -> list[list[Mention]]:
        """For each task the files of its clauses; tasks of one type that share their clauses take them in turn."""
        table = [[f for f in self.all_files if self.alignment.owns(t, f.start)] for t in range(len(self.types))]
        for task, task_type in enumerate(self.types):
            if len(task_type.inputs) != 1:
                continue
            siblings = [
                t
                for t, other in enumerate(self.types)
                if other.id == task_type.id and self.alignment.of_task[t] == self.alignment.of_task[task]
            ]
            fitting = [f for f in table[siblings[0]] if file_fit(f.data_type, task_type.inputs[0]) >= GOOD]
            if siblings[0] == task and len(siblings) > 1 and len({f.text for f in fitting}) == len(siblings):
                in_turn = list({f.text: f for f in reversed(fitting)}.values())
                for sibling, file in zip(siblings, sorted(in_turn, key=lambda f: f.start), strict=True):
                    table[sibling] = [file]
        return table

    def pronouns(self, task: int) -> bool:
        """Whether a task's clauses have a word like `it` or `them`."""
        return bool(self._pronouns(task))

    def only_possessive(self, task: int) -> bool:
        """Whether `its` is the only such word: `tell me its size`."""
        return self._pronouns(task) == {"its"}

    def _pronouns(self, task: int) -> set[str]:
        words = self.words[task]
        idle = {k for k, word in enumerate(words) if word.text == "it" and k and words[k - 1].text == "at"}
        # `while you're at it` means nothing that is worked on.
        return {w.text for k, w in enumerate(words) if k not in idle and (w.text in ONE or w.text in _SEVERAL)}

    def several(self, task: int) -> bool:
        """Whether they have a word like `both`."""
        return any(w.text in _SEVERAL for w in self.words[task])

    def original(self, task: int) -> bool:
        """Whether they speak of the original."""
        return any(w.text in ORIGINAL for w in self.words[task])

    def named_results(self, task: int, improbable: Callable[[int, int], bool]) -> list[int]:
        """Earlier tasks whose result the task's clauses name by a word of their own: `the chart and the summary`."""
        found: dict[int, int] = {}
        words = self.words[task]
        own = result_words(self.types[task])
        for k, word in enumerate(words):
            if word.text in STOP_WORDS or not {w.text for w in words[max(0, k - 3) : k]} & _DETERMINERS:
                continue
            meant = [i for i in range(task) if word.stem in self.distinctive[i] and word.stem not in own]
            if len(meant) == 1 and not improbable(meant[0], task):
                found.setdefault(meant[0], word.start)
        return sorted(found, key=lambda i: found[i])

    @functools.cached_property
    def distinctive(self) -> list[frozenset[str]]:
        """For each task the words of its result that no other planned task shares."""
        words = [result_words(t) for t in self.types]
        return [
            frozenset(w for w in of_task if not any(w in other for k, other in enumerate(words) if k != i))
            for i, of_task in enumerate(words)
        ]
