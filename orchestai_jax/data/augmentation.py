"""Variants of samples: other words for the same plan, and instructions that ask for two things at once."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from orchestai_jax.data.data_error import DataError
from orchestai_jax.data.sample import PlanningSample

_TRIES = 20
"""Attempts for each variant that is wanted, before it is said that there are no more."""
_TOKEN = re.compile(r"\S+")
_SENTENCE_END = (".", "!", "?")
_JOINTS = (" Also, ", " Then ", " In addition, ", " ", " And ", " After that, ")
_SMALL_WORDS = frozenset(
    {"a", "an", "the", "please", "then", "also", "just", "kindly", "me", "my", "our", "some", "really"}
)


class AugmentationConfig(BaseModel):
    """Probabilities, all 0 to 1: a field at 0 leaves that part of the instruction alone."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    word_dropout: float = Field(default=0.1, ge=0, le=1)
    """Of each small word (articles, politeness, conjunctions) to be left out; the first and last words stay."""
    typo: float = Field(default=0.02, ge=0, le=1)
    """Of each plain word of four letters or more to get one slip: two letters swapped, one doubled, one missing."""
    lower_case: float = Field(default=0.15, ge=0, le=1)
    """Of the instruction to be written without capitals (values aside)."""
    no_final_mark: float = Field(default=0.1, ge=0, le=1)
    """Of the instruction to lose its last full stop or question mark."""
    join: float = Field(default=0.1, ge=0, le=1)
    """Of a further sample's instruction and tasks to be appended, where `others` are given."""
    max_tasks: int = Field(default=8, ge=1)
    """Most tasks of a joined sample; others are not joined."""


def augment(
    sample: PlanningSample,
    rng: np.random.Generator,
    config: AugmentationConfig,
    others: Sequence[PlanningSample] = (),
) -> PlanningSample:
    """A variant of `sample` under `config`; the same `rng` state gives the same one.

    Task types, dependencies, workers, arguments and complexities stay. So do the words of the instruction that are
    values: quoted text, file names, addresses, whatever is not letters alone, and the words of the gold arguments.
    Joining appends the tasks of one of `others` that shares no task type, their positions shifted. The id gets a suffix
    where something changed: make splits by id before.
    """
    result = sample
    if others and rng.random() < config.join:
        other = others[int(rng.integers(len(others)))]
        # A plan holds a task type once, as the planner's decoder does.
        fits = len(sample.task_types) + len(other.task_types) <= config.max_tasks
        if other.id != sample.id and fits and not sample.nodes & other.nodes:
            result = join_samples(sample, other, _JOINTS[int(rng.integers(len(_JOINTS)))])
    text = result.instruction
    protected = _protected(result)
    if config.word_dropout:
        text = _drop_words(text, protected, config.word_dropout, rng)
    if config.typo:
        text = _TOKEN.sub(lambda match: _slip(match, text, protected, config.typo, rng), text)
    if rng.random() < config.lower_case:
        text = _TOKEN.sub(lambda m: m[0] if _is_value(m, text, protected) else m[0].lower(), text)
    if rng.random() < config.no_final_mark and text.rstrip().endswith(_SENTENCE_END):
        text = text.rstrip()[:-1]
    if result is sample and text == sample.instruction:
        return sample
    return dataclasses.replace(result, id=f"{result.id}~{int(rng.integers(2**32)):08x}", instruction=text)


def augmented_samples(
    samples: Sequence[PlanningSample], n: int, seed: int = 0, config: AugmentationConfig | None = None
) -> list[PlanningSample]:
    """`n` variants of `samples`, all with different instructions that no sample has; each sample has about as many.

    The same arguments give the same variants. Without a config the default one is taken, and no joined sample has more
    tasks than the longest of `samples`, so that a planner that can learn these can learn the variants.

    Raises:
      DataError: `n` is negative, or the samples do not give that many different instructions.
    """
    if n < 0:
        raise DataError(f"n must be 0 or more, got {n}")
    config = config or AugmentationConfig(max_tasks=max((len(s.task_types) for s in samples), default=1) or 1)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(samples)).tolist()
    seen = {_words(sample) for sample in samples}
    variants: list[PlanningSample] = []
    tries = 0
    while len(variants) < n:
        if not samples or tries == _TRIES * n:
            raise DataError(
                f"only {len(variants)} different variants of {n} could be made of {len(samples)} samples; ask for fewer"
            )
        variant = augment(samples[order[tries % len(samples)]], rng, config, samples)
        tries += 1
        if _words(variant) not in seen:
            seen.add(_words(variant))
            variants.append(variant)
    return variants


def join_samples(first: PlanningSample, second: PlanningSample, joint: str = " Also, ") -> PlanningSample:
    """One sample that asks for both: instructions one after the other, tasks concatenated, positions shifted.

    Per-task entries (workers, arguments, …) are kept where both samples have them; the preference where it is the same.
    """
    shift = len(first.task_types)
    text = first.instruction.rstrip()
    text = text if text.endswith(_SENTENCE_END) or not text else text + "."
    following = second.instruction.strip()
    if joint.strip().endswith(",") or (joint.strip() and joint.strip()[-1].isalpha()):
        head = following.split(" ", 1)[0]
        if head.isalpha() and head.istitle() and head != "I":
            following = following[:1].lower() + following[1:]
    same = first.preference == second.preference
    return PlanningSample(
        id=f"{first.id}+{second.id}",
        instruction=f"{text}{joint}{following}" if text else following,
        task_types=first.task_types + second.task_types,
        dependencies=first.dependencies + tuple((s + shift, t + shift) for s, t in second.dependencies),
        workers=_both(first.workers, second.workers) if same else None,
        step_texts=_both(first.step_texts, second.step_texts),
        arguments=_both(first.arguments, tuple(_shifted(a, shift) for a in second.arguments or ()) or None),
        complexities=_both(first.complexities, second.complexities),
        preference=first.preference if same else None,
    )


def _words(sample: PlanningSample) -> str:
    """What makes an instruction another one: capitals count, blanks do not."""
    return " ".join(sample.instruction.split())


def _both(first: tuple[Any, ...] | None, second: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
    return first + second if first is not None and second is not None else None


def _shifted(arguments: Any, shift: int) -> dict[str, Any]:
    return {
        name: {**argument, "task": argument["task"] + shift} if "task" in argument else argument
        for name, argument in arguments.items()
    }


def _protected(sample: PlanningSample) -> frozenset[str]:
    """The words of the arguments' values: they must survive, or the gold arguments could not be read any more."""
    words: set[str] = set()
    for arguments in sample.arguments or ():
        for argument in arguments.values():
            if "value" in argument:
                words.update(word.strip(".,;:!?'\"").lower() for word in str(argument["value"]).split())
    return frozenset(words)


def _is_value(match: re.Match[str], text: str, protected: frozenset[str]) -> bool:
    word = match[0].rstrip(".,;:!?")
    inside_quotes = text.count('"', 0, match.start()) % 2 == 1
    return inside_quotes or not word.isalpha() or word.lower() in protected


def _drop_words(text: str, protected: frozenset[str], probability: float, rng: np.random.Generator) -> str:
    matches = list(_TOKEN.finditer(text))
    pieces = []
    for i, match in enumerate(matches):
        inner = 0 < i < len(matches) - 1
        small = match[0].lower() in _SMALL_WORDS and not _is_value(match, text, protected)
        if inner and small and rng.random() < probability:
            continue
        end = matches[i + 1].start() if i + 1 < len(matches) else len(text)
        pieces.append(text[match.start() : end])
    return (text[: matches[0].start()] if matches else text) + "".join(pieces)


def _slip(
    match: re.Match[str], text: str, protected: frozenset[str], probability: float, rng: np.random.Generator
) -> str:
    word = match[0]
    letters = len(word.rstrip(".,;:!?"))
    if letters < 4 or _is_value(match, text, protected) or rng.random() >= probability:
        return word
    i = int(rng.integers(1, letters - 1))
    slip = int(rng.integers(3))
    if slip == 0:
        return word[:i] + word[i + 1] + word[i] + word[i + 2 :]
    return word[:i] + word[i] + word[i:] if slip == 1 else word[:i] + word[i + 1 :]
