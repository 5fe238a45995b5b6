"""Fills arguments by the learned scorer; input ports, booleans and enumerations' synonyms stay with the rules."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from orchestai_jax.config import ArgumentsConfig
from orchestai_jax.data.tokenizer import clean_text
from orchestai_jax.planner.arguments.choosing import choose
from orchestai_jax.planner.arguments.clauses import align
from orchestai_jax.planner.arguments.filling import (
    Filled,
    fill_aligned,
    fill_arguments,
    known_types,
    open_arguments,
    open_notes,
)
from orchestai_jax.planner.arguments.fitting import is_untyped
from orchestai_jax.planner.arguments.queries import Queries, ReadInstruction, lay_out, read_instruction
from orchestai_jax.planner.arguments.reading import read
from orchestai_jax.planner.arguments.references import task_id
from orchestai_jax.planner.arguments.scorer import ArgumentScorer
from orchestai_jax.planner.arguments.spans import MAX_SPANS
from orchestai_jax.planner.arguments.word_vectors import WordVectors
from orchestai_jax.workflow.catalog import Catalog, TaskType
from orchestai_jax.workflow.workflow import Reference, Value

_LEAST_ROWS = 8
_FEW_SPANS = 128
"""Most instructions have no more spans; then less is computed."""


class LearnedFiller:
    """`fill_arguments` with what the scorer says of each parameter in place of the rules."""

    def __init__(self, config: ArgumentsConfig, parameters: Mapping[str, Array], vectors: WordVectors):
        """`parameters`: the scorer's, by dotted path; `vectors`: of the planner's frozen token embedding."""
        self._config, self._vectors = config, vectors
        self._graphdef, _ = nnx.split(nnx.eval_shape(lambda: ArgumentScorer(config.hidden_size, rngs=nnx.Rngs(0))))
        self._parameters = dict(parameters)

    def __call__(
        self,
        instruction: str,
        task_types: Sequence[str],
        edges: Collection[tuple[int, int]],
        catalog: Catalog,
        *,
        edge_probability: Callable[[int, int], float] | None = None,
    ) -> Filled:
        """See `fill_arguments`. Tasks without typed inputs that have parameters get their edges from references alone.

        Raises:
            ArgumentError: a task type is not in the catalog.
        """
        types = known_types(task_types, catalog)
        if not any(t.parameters for t in types):
            return fill_arguments(instruction, task_types, edges, catalog, edge_probability=edge_probability)
        ruled, instruction_read = read_by_rules(instruction, types, edges, self._vectors, edge_probability)
        if instruction_read is None:
            return ruled
        return self._merged(ruled, types, instruction_read, self.probabilities(instruction_read))

    def probabilities(self, instruction: ReadInstruction) -> Float[np.ndarray, "K choices"]:
        """Of every alternative of every parameter. Compiled for each power of two of parameters, few spans and many."""
        count = len(instruction.slots)
        rows = max(_LEAST_ROWS, 1 << (count - 1).bit_length())
        columns = _FEW_SPANS if len(instruction.spanned.spans) <= _FEW_SPANS else MAX_SPANS
        queries = lay_out([(instruction, k) for k in range(count)], rows, columns)
        found = np.asarray(_probabilities(self._graphdef, self._parameters, queries))[:count]
        missing = np.zeros((count, MAX_SPANS - columns), found.dtype)
        return np.concatenate([found[:, :columns], missing, found[:, columns:]], axis=1)

    def _merged(
        self, ruled: Filled, types: Sequence[TaskType], instruction: ReadInstruction, probabilities: np.ndarray
    ) -> Filled:
        config = self._config
        arguments = [_of_rules(types[j], given) for j, given in enumerate(ruled.arguments)]
        free = {j for j, t in enumerate(types) if is_untyped(t) and t.parameters}
        edges = {(i, j) for i, j in ruled.edges if j not in free}
        for choice in choose(instruction, probabilities, config.value_threshold, config.reference_threshold):
            slot = instruction.slots[choice.slot]
            if choice.source is None:
                arguments[slot.task][slot.parameter.name] = Value(value=choice.value)
                continue
            output = types[choice.source.task].outputs[choice.source.output]
            arguments[slot.task][slot.parameter.name] = Reference(task=task_id(choice.source.task), output=output.name)
            edges.add((choice.source.task, slot.task))
        left = open_arguments(types, arguments)
        said = set(open_notes(types, ruled.open_arguments))
        notes = [note for note in ruled.notes if note not in said] + open_notes(types, left)
        return Filled(tuple(arguments), frozenset(edges), left, tuple(notes))


def read_by_rules(
    instruction: str,
    types: Sequence[TaskType],
    edges: Collection[tuple[int, int]],
    vectors: WordVectors,
    edge_probability: Callable[[int, int], float] | None = None,
) -> tuple[Filled, ReadInstruction | None]:
    """What the rules give, and the instruction read with it for the scorer: None where there is nothing to fill."""
    reading = read(instruction)
    alignment = align(reading, types)
    ruled = fill_aligned(reading, alignment, types, edges, edge_probability)
    return ruled, read_instruction(clean_text(instruction), types, alignment, literals(ruled), vectors)


def literals(filled: Filled) -> list[dict[str, Any]]:
    """The literals among filled arguments, by task and name."""
    return [{n: a.value for n, a in given.items() if isinstance(a, Value)} for given in filled.arguments]


def _of_rules(task_type: TaskType, given: Mapping[str, Value | Reference]) -> dict[str, Value | Reference]:
    """What stays of the rules' arguments: input ports of typed tasks, booleans, and entries of enumerations."""
    parameters = {p.name: p for p in task_type.parameters}
    untyped = is_untyped(task_type) and bool(parameters)
    kept: dict[str, Value | Reference] = {}
    for name, argument in given.items():
        parameter = parameters.get(name)
        if parameter is None:
            if not (untyped and isinstance(argument, Reference)):
                kept[name] = argument
        elif isinstance(argument, Value) and (parameter.type == "boolean" or parameter.enum is not None):
            kept[name] = argument
    return kept


@functools.partial(jax.jit, static_argnums=0)
def _probabilities(graphdef: nnx.GraphDef, parameters: Mapping[str, Array], queries: Queries) -> Array:
    scorer: ArgumentScorer = merge_scorer(graphdef, parameters)
    return jnp.exp(scorer(queries))


def merge_scorer(graphdef: nnx.GraphDef, parameters: Mapping[str, Array]) -> ArgumentScorer:
    """The scorer with parameters by dotted path; inside jit this is free."""
    flat = [(tuple(name.split(".")), nnx.Param(value)) for name, value in parameters.items()]
    return nnx.merge(graphdef, nnx.from_flat_state(flat))
