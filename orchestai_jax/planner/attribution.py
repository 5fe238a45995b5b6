"""Which words of an instruction spoke for each task, edge and argument of its plan, by occlusion.

Each word is hidden in turn (as Zeiler & Fergus 2014 hid parts of pictures): from the encoder's attention for tasks and
edges, from the text for arguments. What falls, or changes, rested on the word.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float

from orchestai_jax.data.tokenizer import clean_text
from orchestai_jax.planner.arguments import FillsArguments, fill_arguments
from orchestai_jax.workflow import Argument, Catalog, Workflow


@dataclasses.dataclass(frozen=True, slots=True)
class Explanation:
    """A plan and what each word did for it. Every tuple of scores has one entry a word."""

    workflow: Workflow
    words: tuple[str, ...]
    """The words of the instruction that were read, in order."""
    tasks: Mapping[str, tuple[float, ...]]
    """Task id to how far the log-probability of choosing it (nats) falls without the word; below 0 where it rises."""
    edges: Mapping[tuple[str, str], tuple[float, ...]]
    """(producer, consumer) to how far the edge's log-odds fall without the word. Edges that the graph generator did not
    draw, but an argument's reference, are not here: the argument's words speak for them."""
    arguments: Mapping[tuple[str, str], tuple[bool, ...]]
    """(task id, name) to whether the argument would be another without the word."""

    def spoke_for(self, scores: Sequence[float], most: int = 4) -> list[tuple[str, float]]:
        """The words with the highest scores above 0, highest first: at most `most`, none under a tenth of the first."""
        order = sorted(range(len(scores)), key=lambda i: -scores[i])[:most]
        least = max(scores, default=0.0) / 10
        return [(self.words[i], float(scores[i])) for i in order if scores[i] > 0 and scores[i] >= least]


def split_words(text: str, read_until: int) -> list[tuple[int, int]]:
    """Where the words (runs without blanks) of a cleaned text stand, as (start, end), up to what was read of it."""
    return [m.span() for m in re.finditer(r"\S+", text) if m.start() < read_until]


def hide_words(
    words: Sequence[tuple[int, int]], offsets: Sequence[tuple[int, int]], length: int
) -> Bool[np.ndarray, "rows n"]:
    """Masks of what is seen: row 0 of all tokens, row 1 + i of all but those of word i. `offsets` are the tokens'."""
    mask = np.zeros((len(words) + 1, length), bool)
    mask[:, : len(offsets)] = True
    for row, (start, end) in enumerate(words, start=1):
        for token, (first, last) in enumerate(offsets):
            if first < last and start <= first < end:
                mask[row, token] = False
    return mask


def argument_words(
    workflow: Workflow,
    catalog: Catalog,
    words: Sequence[tuple[int, int]],
    edge_probabilities: Float[np.ndarray, "J J"],
    fill: FillsArguments = fill_arguments,
) -> dict[tuple[str, str], tuple[bool, ...]]:
    """`Explanation.arguments`: the arguments are filled anew without each word, tasks and edges staying as they are."""
    types = [task.task_type for task in workflow.tasks]
    position = {task.id: i for i, task in enumerate(workflow.tasks)}
    edges = {(position[p], position[t.id]) for t in workflow.tasks for p in t.depends_on}
    text = clean_text(workflow.instruction)

    def filled(instruction: str) -> list[Mapping[str, Argument]]:
        found = fill(instruction, types, edges, catalog, edge_probability=lambda s, t: float(edge_probabilities[s, t]))
        return list(found.arguments)

    whole = filled(text)
    without = [filled(text[:start] + " " * (end - start) + text[end:]) for start, end in words]
    return {
        (task.id, name): tuple(other[j].get(name) != argument for other in without)
        for j, task in enumerate(workflow.tasks)
        for name, argument in whole[j].items()
    }
