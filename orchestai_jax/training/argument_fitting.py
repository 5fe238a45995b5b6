"""Fits the scorer of arguments on samples whose arguments are known, before the rest of the planner is trained."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Bool, Float

from orchestai_jax.config import ArgumentFittingConfig, ArgumentsConfig
from orchestai_jax.data import PlanningSample
from orchestai_jax.data.argument_values import normal_form
from orchestai_jax.planner.arguments.learned import merge_scorer, read_by_rules
from orchestai_jax.planner.arguments.queries import MAX_SOURCES, Queries, ReadInstruction, lay_out
from orchestai_jax.planner.arguments.scorer import ArgumentScorer, argument_loss
from orchestai_jax.planner.arguments.spans import MAX_SPANS
from orchestai_jax.planner.arguments.word_vectors import WordVectors
from orchestai_jax.training.errors import TrainingError
from orchestai_jax.workflow import Catalog

NO_ARGUMENTS = (
    "planner.arguments.method is learned, but no training sample has arguments of parameters that the catalog "
    "declares; set it to rules, or give data with arguments"
)
_NOTHING = MAX_SPANS + MAX_SOURCES
"""The alternative that a parameter is not said."""


@dataclasses.dataclass(frozen=True, slots=True)
class LabelledQuery:
    """A parameter, the alternatives that are right, and what the query weighs."""

    instruction: ReadInstruction
    slot: int
    right: tuple[int, ...]
    weight: float


def labelled_queries(
    samples: Sequence[PlanningSample],
    catalog: Catalog,
    vectors: WordVectors,
    unmatched_weight: float,
    progress: Callable[[int, int], None] | None = None,
) -> list[LabelledQuery]:
    """Every parameter of the samples' tasks, labelled. Samples without arguments are passed over.

    A gold value that no span gives counts as not said, with a weight of its own.
    """
    found: list[LabelledQuery] = []
    for number, sample in enumerate(samples, start=1):
        if sample.arguments is None:
            continue
        types = [catalog.task_type(name) for name in sample.task_types]
        _, read = read_by_rules(sample.instruction, types, (), vectors)
        if read is None:
            continue
        for k, slot in enumerate(read.slots):
            gold = sample.arguments[slot.task].get(slot.parameter.name)
            right = _right(read, k, gold, types)
            weight = 1.0 if right or gold is None else unmatched_weight
            found.append(LabelledQuery(read, k, right or (_NOTHING,), weight))
        if progress:
            progress(number, len(samples))
    return found


def _right(read: ReadInstruction, k: int, gold: Mapping[str, Any] | None, types: Sequence[Any]) -> tuple[int, ...]:
    """The alternatives that give a gold argument; none for none."""
    if gold is None:
        return ()
    if "value" in gold:
        wanted = normal_form(gold["value"])
        return tuple(i for i, v in enumerate(read.values[k]) if v is not None and normal_form(v) == wanted)
    of_task = [i for i, s in enumerate(read.sources[k]) if s.task == gold["task"]]
    named = [i for i in of_task if _output_name(read, k, i, types) == gold["output"]]
    return tuple(MAX_SPANS + i for i in named or of_task)


def _output_name(read: ReadInstruction, k: int, i: int, types: Sequence[Any]) -> str:
    source = read.sources[k][i]
    return types[source.task].outputs[source.output].name


def fit_arguments(
    queries: Sequence[LabelledQuery],
    config: ArgumentsConfig,
    fitting: ArgumentFittingConfig,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Array]:
    """The scorer's parameters by dotted path. The same queries and seed give the same parameters on one machine.

    Raises TrainingError where there is no query to learn from.
    """
    if not queries:
        raise TrainingError(NO_ARGUMENTS)
    scorer = ArgumentScorer(config.hidden_size, fitting.dropout, rngs=nnx.Rngs(seed))
    graphdef, state = nnx.split(scorer)
    parameters = {".".join(map(str, path)): jnp.array(v.get_value()) for path, v in nnx.to_flat_state(state)}
    optimizer = _optimizer(fitting.num_steps, fitting.learning_rate, fitting.weight_decay)
    moments = optimizer.init(parameters)
    draw = np.random.default_rng(seed)
    order: list[int] = []
    for step in range(fitting.num_steps):
        while len(order) < fitting.batch_size:
            order += draw.permutation(len(queries)).tolist()
        chosen, order = [queries[i] for i in order[: fitting.batch_size]], order[fitting.batch_size :]
        batch, right, weights = collate(chosen)
        key = jax.random.fold_in(jax.random.key(seed), step)
        parameters, moments = _step(graphdef, optimizer.update, parameters, moments, batch, right, weights, key)
        if progress:
            progress(step + 1, fitting.num_steps)
    return parameters


@functools.lru_cache(maxsize=8)
def _optimizer(num_steps: int, learning_rate: float, weight_decay: float) -> optax.GradientTransformation:
    """Kept, so that a second fit with the same settings compiles nothing."""
    warmup = max(num_steps // 20, 1)
    schedule = optax.warmup_cosine_decay_schedule(0.0, learning_rate, warmup, max(num_steps, warmup + 1))
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule, weight_decay=weight_decay))


def collate(
    queries: Sequence[LabelledQuery],
) -> tuple[Queries, Bool[np.ndarray, "Q choices"], Float[np.ndarray, "Q"]]:
    """Queries as arrays, which alternatives are right, and the weights."""
    right = np.zeros((len(queries), _NOTHING + 1), bool)
    for row, query in enumerate(queries):
        right[row, list(query.right)] = True
    weights = np.array([q.weight for q in queries], np.float32)
    return lay_out([(q.instruction, q.slot) for q in queries], len(queries)), right, weights


@functools.partial(jax.jit, static_argnums=(0, 1), donate_argnums=(2, 3))
def _step(
    graphdef: nnx.GraphDef,
    update: Callable[..., Any],
    parameters: dict[str, Array],
    moments: Any,
    batch: Queries,
    right: Array,
    weights: Array,
    key: Array,
) -> tuple[dict[str, Array], Any]:
    def loss(parameters: dict[str, Array]) -> Array:
        scorer = merge_scorer(graphdef, parameters)
        return argument_loss(scorer, batch, right, weights, rngs=nnx.Rngs(dropout=key))

    gradients = jax.grad(loss)(parameters)
    changes, moments = update(gradients, moments, parameters)
    return optax.apply_updates(parameters, changes), moments  # pyright: ignore[reportReturnType]
