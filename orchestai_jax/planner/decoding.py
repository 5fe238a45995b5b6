"""Decoding: from probabilities to plans that always validate. Greedy is beam search with one beam."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from orchestai_jax.config import DecodingConfig
from orchestai_jax.planner.beam_search import search
from orchestai_jax.planner.catalog_arrays import CatalogArrays
from orchestai_jax.planner.description_matcher import Evidence
from orchestai_jax.planner.graph_generator import pairs_fit
from orchestai_jax.planner.model import Encoded, PlannerModel
from orchestai_jax.planner.past_plans import instruction_vectors, votes
from orchestai_jax.planner.plan_agreement import agreement

NO_PLAN = float(jnp.finfo(jnp.float32).min) / 2
"""Log-probabilities below it belong to places of a beam that no plan filled."""


@struct.dataclass
class DecodedPlans:
    """Plans as arrays; T stands for no task."""

    chosen: Int[Array, "batch J"]
    task_logp: Float[Array, "batch J"]
    """Log-probability of each choice."""
    plan_logp: Float[Array, "batch"]
    """Log-probability of the whole sequence, the stop included."""
    task_support: Float[Array, "batch J"]
    """Probability of the plans found that hold the task's type, summed."""
    plan_support: Float[Array, "batch"]
    """Probability of the plans found that have the same set of task types, in whatever order, summed."""
    edge_probabilities: Float[Array, "batch J J"]
    """0 wherever an edge would go backward or its types would not fit."""
    worker_logp: Float[Array, "batch J M"]
    """Of the workers that can do each task, in catalog order (rows of `CatalogArrays.able`)."""
    complexity: Float[Array, "batch J"]


def plan_rows(plans: DecodedPlans) -> list[DecodedPlans]:
    """Each row's plan, as NumPy arrays. On a CPU they are views: `jax.device_get` takes ten times as long."""
    arrays = {name: np.asarray(x) for name, x in vars(plans).items()}
    count = len(arrays["chosen"])
    return [DecodedPlans(**{name: x[row] for name, x in arrays.items()}) for row in range(count)]


def decode(
    model: PlannerModel,
    catalog: CatalogArrays,
    lower: Float[Array, "batch n hidden"],
    mask: Bool[Array, "batch n"],
    preference: Float[Array, "batch 3"],
    decoding: DecodingConfig,
    evidence: Evidence | None = None,
    vectors: Float[Array, "batch V"] | None = None,
) -> DecodedPlans:
    """Plan a batch of instructions; `lower` comes from `model.lower`, `evidence` is for a description matcher.

    Where the catalog comes with past plans, those of like instructions vote. `vectors` are the instructions'
    (`instruction_vectors`) where `lower` is not the output of the layers that no training changes.
    """
    encoded = model.encode(catalog, lower, mask, evidence=evidence)
    if decoding.method == "labels":
        return _decode_labels(model, catalog, encoded, preference, decoding.label_threshold)
    beams = search(model, catalog, encoded, decoding.width)
    size, by_past = catalog.known.shape[0], None
    if decoding.neighbours and catalog.past is not None:
        own = vectors if vectors is not None else instruction_vectors(lower, encoded.hidden, mask)
        by_past = votes(catalog.past, own, beams.chosen, size, decoding)
    best = pick_plan(beams.chosen, beams.logp, size, decoding, by_past)

    def of_best(x: Array) -> Array:
        return jnp.take_along_axis(x, best.reshape(-1, *[1] * (x.ndim - 1)), axis=1)[:, 0]

    chosen, states, task_logp, logp = map(of_best, (beams.chosen, beams.states, beams.task_logp, beams.logp))
    supports = support(beams.logp, beams.used, of_best(beams.used), chosen)
    return _complete(model, catalog, encoded, chosen, states, task_logp, logp, supports, preference)


def _decode_labels(model, catalog, encoded: Encoded, preference, threshold: float) -> DecodedPlans:
    """Each task type for itself: those at least as probable as the threshold, or else the most probable one; in the
    order in which the instruction speaks of them."""
    size, most = catalog.known.shape[0], model.decomposer.max_tasks
    top, types = jax.lax.top_k(encoded.labels, min(most, size))
    wanted = (jax.nn.sigmoid(top) >= threshold).at[:, 0].set(True)
    mentions = jnp.where(wanted, jnp.take_along_axis(encoded.mentions, types, axis=1), jnp.inf)
    order = jnp.argsort(mentions, axis=1, stable=True)  # of two spoken of at once, the more probable one first
    chosen = jnp.take_along_axis(jnp.where(wanted, types, size), order, axis=1)
    chosen = jnp.pad(chosen, ((0, 0), (0, most - chosen.shape[1])), constant_values=size)
    logp = jnp.pad(jnp.take_along_axis(jax.nn.log_sigmoid(top), order, axis=1), ((0, 0), (0, most - order.shape[1])))
    logp = jnp.where(chosen < size, logp, 0.0)
    taken = jnp.zeros((chosen.shape[0], size + 1), bool).at[jnp.arange(chosen.shape[0])[:, None], chosen].set(True)
    signs = jnp.where(taken[:, :size], 1.0, -1.0)
    plan_logp = jnp.sum(jax.nn.log_sigmoid(signs * encoded.labels), axis=1)  # the types as independent of each other
    supports = jnp.where(chosen < size, jnp.exp(logp), 0.0), jnp.exp(plan_logp)
    states = model.decomposer.states(encoded.task_types, chosen_before(chosen, size), encoded.hidden, encoded.mask)
    return _complete(model, catalog, encoded, chosen, states, logp, plan_logp, supports, preference)


def decode_ranked(
    model: PlannerModel,
    catalog: CatalogArrays,
    lower: Float[Array, "batch n hidden"],
    mask: Bool[Array, "batch n"],
    preference: Float[Array, "batch 3"],
    beams: int,
    evidence: Evidence | None = None,
) -> DecodedPlans:
    """All plans that a search with so many beams ends with: rows [batch * beams], each instruction's by falling
    probability.

    Places that nothing filled (more beams than there are plans) have a `plan_logp` below `NO_PLAN`.
    """
    encoded = model.encode(catalog, lower, mask, evidence=evidence)
    found = search(model, catalog, encoded, beams)  # top_k leaves them in order
    rows = Encoded(
        hidden=jnp.repeat(encoded.hidden, beams, axis=0),
        mask=jnp.repeat(encoded.mask, beams, axis=0),
        task_types=encoded.task_types,
        labels=jnp.repeat(encoded.labels, beams, axis=0),
        attended=jax.tree.map(lambda x: jnp.repeat(x, beams, axis=0), encoded.attended),
        mentions=jnp.repeat(encoded.mentions, beams, axis=0),
    )

    def flat(x: Array) -> Array:
        return x.reshape(-1, *x.shape[2:])

    chosen, states, task_logp, logp = map(flat, (found.chosen, found.states, found.task_logp, found.logp))
    wanted = jnp.repeat(preference, beams, axis=0)
    all_logp, all_used = jnp.repeat(found.logp, beams, axis=0), jnp.repeat(found.used, beams, axis=0)
    supports = support(all_logp, all_used, flat(found.used), chosen)
    return _complete(model, catalog, rows, chosen, states, task_logp, logp, supports, wanted)


def decode_given(
    model: PlannerModel,
    catalog: CatalogArrays,
    lower: Float[Array, "batch n hidden"],
    mask: Bool[Array, "batch n"],
    preference: Float[Array, "batch 3"],
    chosen: Int[Array, "batch J"],
    evidence: Evidence | None = None,
) -> DecodedPlans:
    """Edges, workers and complexities for tasks that are given (the choices' log-probabilities come out as zero)."""
    encoded = model.encode(catalog, lower, mask, evidence=evidence)
    previous = chosen_before(chosen, catalog.known.shape[0])
    states = model.decomposer.states(encoded.task_types, previous, encoded.hidden, mask)
    zeros, ones = jnp.zeros(chosen.shape), jnp.ones(chosen.shape)
    supports = ones, ones[:, 0]
    return _complete(model, catalog, encoded, chosen, states, zeros, zeros[:, 0], supports, preference)


def score_given(
    model: PlannerModel,
    catalog: CatalogArrays,
    lower: Float[Array, "batch n hidden"],
    mask: Bool[Array, "batch n"],
    chosen: Int[Array, "batch J"],
    evidence: Evidence | None = None,
    by_labels: bool = False,
) -> tuple[Float[Array, "batch J"], Float[Array, "batch J J"]]:
    """How given plans are judged: log-probability of each choice, and log-odds of each edge.

    A choice is judged after those before it, or with `by_labels`, as the decoding `labels` takes them, by itself.
    """
    encoded = model.encode(catalog, lower, mask, evidence=evidence)
    size, (batch, steps) = catalog.known.shape[0], chosen.shape
    previous = chosen_before(chosen, size)
    states = model.decomposer.states(encoded.task_types, previous, encoded.hidden, mask)
    edge_logits = model.edge_logits(catalog, model.task_states(encoded, states, chosen), chosen, chosen < size)
    if by_labels:
        labels = jnp.take_along_axis(encoded.labels, jnp.minimum(chosen, size - 1), axis=1)
        return jnp.where(chosen < size, jax.nn.log_sigmoid(labels), 0.0), edge_logits
    flat = states.reshape(batch * steps, -1), previous.reshape(-1), jnp.repeat(encoded.labels, steps, axis=0)
    logits = model.decomposer.logits(catalog, encoded.directions, *flat).reshape(batch, steps, -1)
    lowest = jnp.finfo(logits.dtype).min
    if not model.spec.planner.decomposer.allow_repeats:
        used = jnp.cumsum(jax.nn.one_hot(previous, size + 1)[..., :size], axis=1) > 0
        logits = jnp.where(jnp.pad(used, ((0, 0), (0, 0), (0, 1))), lowest, logits)
    logits = logits.at[:, 0, size].set(lowest)  # a plan has at least one task
    logp = jnp.take_along_axis(jax.nn.log_softmax(logits, axis=-1), chosen[..., None], axis=-1)[..., 0]
    return logp, edge_logits


def chosen_before(chosen: Int[Array, "batch J"], no_task: int) -> Int[Array, "batch J"]:
    """What was chosen before each of these choices; before the first one `no_task`."""
    return jnp.pad(chosen[:, :-1], ((0, 0), (1, 0)), constant_values=no_task)


def support(
    logp: Float[Array, "batch beams"],
    used: Bool[Array, "batch beams T1"],
    used_by_best: Bool[Array, "batch T1"],
    chosen: Int[Array, "batch J"],
) -> tuple[Float[Array, "batch J"], Float[Array, "batch"]]:
    """`task_support` and `plan_support` of the plan that was picked, see DecodedPlans. `used` are the plans' sets of
    task types, with a last column that no plan uses."""
    probability = jnp.exp(logp)  # places that nothing filled have the lowest of logarithms
    with_type = jnp.einsum("bk,bkt->bt", probability, used.astype(probability.dtype))
    of_tasks = jnp.take_along_axis(with_type, chosen, axis=1)
    same_set = jnp.all(used == used_by_best[:, None], axis=-1)
    return of_tasks, jnp.sum(jnp.where(same_set, probability, 0.0), axis=1)


def _complete(model, catalog, encoded, chosen, states, task_logp, plan_logp, supports, preference) -> DecodedPlans:
    tasks = chosen < catalog.known.shape[0]
    task_states = model.task_states(encoded, states, chosen)
    probabilities = jax.nn.sigmoid(model.edge_logits(catalog, task_states, chosen, tasks))
    forward = jnp.triu(jnp.ones(probabilities.shape[1:], bool), k=1)
    allowed = forward & tasks[:, :, None] & tasks[:, None, :] & pairs_fit(catalog, chosen)
    worker_logp, complexity = model.choose_workers(catalog, encoded, task_states, chosen, preference)
    return DecodedPlans(
        chosen=chosen,
        task_logp=task_logp,
        plan_logp=plan_logp,
        task_support=supports[0],
        plan_support=supports[1],
        edge_probabilities=jnp.where(allowed, probabilities, 0.0),
        worker_logp=worker_logp,
        complexity=jax.nn.sigmoid(complexity),
    )


def pick_plan(
    chosen: Int[Array, "batch beams J"],
    logp: Float[Array, "batch beams"],
    num_task_types: int,
    decoding: DecodingConfig,
    by_past: Float[Array, "batch beams"] | None = None,
) -> Int[Array, "batch"]:
    """Which of the plans found is given out: the most probable one, or by minimum Bayes risk the one of highest
    expected agreement (Kumar & Byrne 2004, with the mean of node F1 and link F1 of neighbours in order as the gain),
    to which the votes `by_past` plans are added, `neighbour_weight` times."""
    if decoding.method != "mbr":
        length = jnp.sum(chosen < num_task_types, axis=-1) + 1.0
        return jnp.argmax(logp / length**decoding.length_penalty, axis=1)
    posterior = jax.nn.softmax(logp / decoding.mbr_temperature, axis=-1)
    expected = jnp.einsum("bij,bj->bi", agreement(chosen, chosen, num_task_types), posterior)
    if by_past is not None:
        expected = expected + decoding.neighbour_weight * by_past
    found = logp > NO_PLAN  # a wide beam over a small catalog has places that nothing filled
    return jnp.argmax(jnp.where(found, expected, -1.0), axis=1)
