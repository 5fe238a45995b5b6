"""Features of an earlier task's output as the argument of a parameter: names, types, order, words like `this`."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from orchestai_jax.planner.arguments.clauses import Alignment
from orchestai_jax.planner.arguments.lexicon import word_set
from orchestai_jax.planner.arguments.slots import Slot
from orchestai_jax.planner.arguments.words import content_stems, parts, stem, stem_set
from orchestai_jax.workflow.catalog import TaskType
from orchestai_jax.workflow.validation import may_fill

_GIVEN = word_set(
    "the this that these those same its their his her specified obtained resulting retrieved previous generated "
    "calculated encoded created found mentioned above translated converted extracted identified selected new newly"
)
"""Words before what was spoken of, or made, before."""
_MADE = _GIVEN - word_set("the its their his her new newly these those")
_EARLIER = word_set("previous prior above mentioned aforementioned obtained resulting returned earlier")
_PRONOUNS = word_set("it its them their this that these those same he his him she her")
_MAKING = stem_set(
    "create register upload start generate launch run submit book add post initiate build make open schedule record"
)
_GENERIC = stem_set("id name type data information path file url code number get")
"""Words of names that many things share."""
_REACH = 3
"""How many words after `this` the thing may stand."""
_WORD = re.compile(r"\w+")


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """An output of an earlier task, by their positions."""

    task: int
    output: int


def sources_of(slot: Slot, types: Sequence[TaskType]) -> list[Source]:
    """The outputs of earlier tasks whose type may stand in a slot, in order."""
    return [
        Source(task, k)
        for task in range(slot.task)
        for k, output in enumerate(types[task].outputs)
        if may_fill(output.type, slot.parameter)
    ]


class SourceReader:
    """Features of the outputs of one instruction's tasks."""

    def __init__(self, text: str, types: Sequence[TaskType], alignment: Alignment):
        self.text, self.types, self.alignment = text, types, alignment
        self._ids = [frozenset(stem(w) for w in parts(t.id)) for t in types]

    def features(
        self, slot: Slot, sources: Sequence[Source], likeness: Float[np.ndarray, "R"]
    ) -> Float[np.ndarray, "R Fr"]:
        """Of every source, for a slot. `likeness`: cosines of slot and source."""
        around = self.of_slot(slot)
        rows = [(*self._of(slot, s), *around, float(c)) for s, c in zip(sources, likeness, strict=True)]
        return np.array(rows, np.float32).reshape(len(rows), REFERENCE_FEATURES)

    @functools.cached_property
    def _said(self) -> list[list[str]]:
        """The words, in lower case, of the sentences that each task's clauses stand in."""
        found = []
        for owned in self.alignment.of_task:
            sentences = {self.alignment.clauses[k].sentence for k in owned}
            pieces = [self.text[c.start : c.end] for c in self.alignment.clauses if c.sentence in sentences]
            found.append([w.lower() for w in _WORD.findall(" ".join(pieces))])
        return found

    def of_slot(self, slot: Slot) -> tuple[float, ...]:
        """What the text around a slot's task says of earlier results, whichever is meant."""
        words = self._said[slot.task]
        core = frozenset(slot.words.name) - _GENERIC or frozenset(slot.words.name)
        return (
            float(self._follows(words, _GIVEN, core)),
            float(self._follows(words, _MADE, core)),
            float(any(w in _EARLIER for w in words)),
            float(any(w in _PRONOUNS for w in words)),
            float("id" in slot.words.name),
            float(slot.parameter.required),
        )

    def _follows(self, words: Sequence[str], leading: frozenset[str], wanted: frozenset[str]) -> bool:
        """Whether one of the wanted stems stands within three words after one of the leading words."""
        return any(
            word in leading and any(stem(w) in wanted for w in words[k + 1 : k + 1 + _REACH])
            for k, word in enumerate(words)
        )

    def _of(self, slot: Slot, source: Source) -> tuple[float, ...]:
        producer = self.types[source.task]
        output = producer.outputs[source.output]
        name = frozenset(slot.words.name)
        core = name - _GENERIC or name
        output_name = tuple(stem(w) for w in parts(output.name))
        described = frozenset(output_name) | content_stems(output.description)
        spoken = {stem(w) for w in self._said[slot.task]}
        made = self._ids[source.task] | frozenset(output_name)
        makes = float(bool(self._ids[source.task] & _MAKING))
        related = _share(core, self._ids[source.task])
        same = float(any(p.name == slot.parameter.name for p in producer.parameters))
        identifier = float("id" in name)
        return (
            float(len(producer.outputs) == 1),
            float(source.output == 0),
            float(source.task == slot.task - 1),
            1 / (slot.task - source.task),
            _share(name, frozenset(output_name)),
            _share(frozenset(output_name), name | slot.words.description),
            _share(core, described),
            float(output_name == slot.words.name),
            float(output_name[-1:] == slot.words.name[-1:]),
            related,
            same,
            makes,
            makes * related,
            identifier * related,
            same * float(self._follows(self._said[slot.task], _MADE, core)),
            _share(frozenset(output_name), spoken),
            _share(made - _GENERIC, spoken),
            1 / max(len(self.types[slot.task].parameters), 1),
            1 / len(self.types),
            float(slot.parameter.type in ("array", "object", "any")),
        )


POINTING_FEATURES = 6
"""How many features `SourceReader.of_slot` gives."""
REFERENCE_FEATURES = 20 + POINTING_FEATURES + 1
"""How many features `SourceReader.features` gives."""


def _share(wanted: frozenset[str] | set[str], given: frozenset[str] | set[str]) -> float:
    """Share of the wanted words that are among the given ones."""
    return len(wanted & given) / len(wanted) if wanted else 0.0
