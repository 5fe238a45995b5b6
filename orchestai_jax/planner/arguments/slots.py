"""What the declaration of a parameter says to the learned filler: its words, its examples, what its name speaks of."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from orchestai_jax.planner.arguments.words import content_stems, parts, squeeze, stem
from orchestai_jax.workflow.catalog import Parameter, TaskType

_EXAMPLES = re.compile(r"\((?:e\.?g\.?|i\.?e\.?|for example|such as|like|options?|either)[,:.]?\s*([^()]*)\)", re.I)
_INLINE = re.compile(r"(?:,|\b)\s*(?:e\.g\.|such as|for example),?\s+([^.;()]*)", re.I)
_DATE_FORM = re.compile(r"yyyy|mm-dd|iso\s?8601", re.I)

NAME_KINDS: tuple[tuple[str, frozenset[str]], ...] = tuple(
    (kind, frozenset(map(stem, words.split())))
    for kind, words in (
        ("identifier", "id ids identifier code number key token isbn serial reference"),
        ("date", "date day birthdate birthday deadline dob"),
        ("time", "time hour period timeframe duration interval range"),
        ("name", "name title artist author player customer person patient company organization brand product"),
        ("place", "location city country region place area address origin destination state site venue"),
        ("sort", "type kind category genre style class level method technique mode status format model"),
        ("amount", "amount count quantity number size length width height weight rate price cost budget age speed"),
        ("text", "text message description content comment review body query question note sentence"),
        ("file", "file path url link image audio video document folder directory"),
        ("contact", "email phone contact recipient"),
        ("living", "species animal plant crop breed organism gender sex"),
        ("topic", "topic subject field area theme keyword criteria goal purpose"),
        ("unit", "unit currency language"),
    )
)


@dataclasses.dataclass(frozen=True)
class SlotWords:
    """One parameter of a task type, read once."""

    name: tuple[str, ...]
    """Stems of the words of its name, in order."""
    description: frozenset[str]
    """Stems of the description, without examples."""
    examples: tuple[str, ...]
    example_forms: frozenset[str]
    """Examples and entries of the enumeration, squeezed."""
    example_stems: frozenset[str]
    kinds: tuple[float, ...]
    """Which of NAME_KINDS the name speaks of, in [0, 1]."""
    wants_iso: bool
    text: str
    """`start date: The start of the period (string)`: what is encoded."""
    task: frozenset[str]
    """Stems of the task type's name and description."""


def slot_words(parameter: Parameter, task_type: TaskType) -> SlotWords:
    """Read a parameter's declaration (cached by its words)."""
    entries = tuple(str(e) for e in parameter.enum or () if isinstance(e, str))
    return _read(parameter.name, parameter.type, parameter.description, entries, task_type.id, task_type.description)


@functools.lru_cache(maxsize=16384)
def _read(
    name: str, kind: str, description: str, entries: tuple[str, ...], task_id: str, task_description: str
) -> SlotWords:
    words = tuple(stem(w) for w in parts(name))
    found = _EXAMPLES.findall(description) or _INLINE.findall(description)
    plain = _EXAMPLES.sub(" ", description)
    examples = [e.strip(" '\"“”.`") for text in found for e in re.split(r",|;|\bor\b|/| and ", text)]
    examples = [e for e in [*entries, *examples] if 0 < len(e) <= 60 and e.lower() not in ("etc", "etc.")]
    said = frozenset(words)
    return SlotWords(
        name=words,
        description=content_stems(plain),
        examples=tuple(dict.fromkeys(examples)),
        example_forms=frozenset(map(squeeze, examples)),
        example_stems=frozenset(s for e in examples for s in content_stems(e)),
        kinds=tuple(float(bool(said & stems)) for _, stems in NAME_KINDS),
        wants_iso=bool(_DATE_FORM.search(description)),
        text=f"{' '.join(parts(name))}: {description}".strip(": ") + (f" ({kind})" if kind != "any" else ""),
        task=content_stems(task_id) | content_stems(task_description),
    )


@dataclasses.dataclass(frozen=True)
class Slot:
    """A parameter of a planned task that is to be filled; `task` is the task's position."""

    task: int
    parameter: Parameter
    words: SlotWords


def slots_of(types: Sequence[TaskType]) -> list[Slot]:
    """The parameters of planned tasks, in order."""
    return [Slot(task, p, slot_words(p, t)) for task, t in enumerate(types) for p in t.parameters]


_TYPES = ("string", "integer", "number", "boolean", "path", "url", "array", "object", "any")

SLOT_FEATURES = 3 + len(_TYPES) + len(NAME_KINDS) + 6
"""How many features `slot_features` gives."""


def slot_features(slot: Slot, num_tasks: int) -> Float[np.ndarray, "Fq"]:
    """What can be told of a slot before looking at the text."""
    words, parameter = slot.words, slot.parameter
    return np.array(
        [
            parameter.required,
            parameter.default is not None,
            parameter.enum is not None,
            *(parameter.type == t for t in _TYPES),
            *words.kinds,
            words.wants_iso,
            bool(words.examples),
            len(words.name) / 4,
            min(len(words.examples), 6) / 6,
            1 / num_tasks,
            float(slot.task == 0),
        ],
        np.float32,
    )
