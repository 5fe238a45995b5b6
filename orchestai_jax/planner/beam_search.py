"""Beam search over what the decomposer may choose next: the plans found, whole."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from orchestai_jax.planner.catalog_arrays import CatalogArrays
from orchestai_jax.planner.model import Encoded, PlannerModel

_LOWEST = float(jnp.finfo(jnp.float32).min)


@struct.dataclass
class Beams:
    """The plans of a search so far; T stands for no task, and for the choice of stopping."""

    step: Int[Array, ""]
    chosen: Int[Array, "batch beams J"]
    states: Float[Array, "batch beams J hidden"]
    """The decoder's, that each task was chosen in."""
    task_logp: Float[Array, "batch beams J"]
    logp: Float[Array, "batch beams"]
    """Of the whole plan; the lowest number in places that no plan filled."""
    done: Bool[Array, "batch beams"]
    used: Bool[Array, "batch beams T1"]
    """Whether each type is in the plan; nothing uses the last column."""
    cache: Any
    """The decoder block's, its arrays [batch, beams, ...]."""


def search(model: PlannerModel, catalog: CatalogArrays, encoded: Encoded, beams: int) -> Beams:
    """The most probable plans that a search of so many beams finds, by falling probability."""
    cross = model.decomposer.block.cross_attention.keys_values(encoded.hidden)
    max_tasks = model.decomposer.max_tasks

    def advance(found: Beams) -> Beams:
        return _advance(model, catalog, encoded, cross, found, beams)

    # Before anything is chosen all beams are alike: the first step takes one, not all of them.
    first = advance(_empty_plan(model, catalog.known.shape[0], encoded.hidden))
    return jax.lax.while_loop(lambda found: ~jnp.all(found.done) & (found.step <= max_tasks), advance, first)


def _empty_plan(model: PlannerModel, size: int, hidden: Float[Array, "batch n hidden"]) -> Beams:
    """One beam, which has chosen nothing yet."""
    batch, max_tasks = hidden.shape[0], model.decomposer.max_tasks
    return Beams(
        step=jnp.zeros((), jnp.int32),
        chosen=jnp.full((batch, 1, max_tasks), size, jnp.int32),
        states=jnp.zeros((batch, 1, max_tasks, hidden.shape[2])),
        task_logp=jnp.zeros((batch, 1, max_tasks)),
        logp=jnp.zeros((batch, 1)),
        done=jnp.zeros((batch, 1), bool),
        used=jnp.zeros((batch, 1, size + 1), bool),
        cache=_split_rows(model.decomposer.block.initial_cache(batch, max_tasks + 1), batch),
    )


def _advance(
    model: PlannerModel,
    catalog: CatalogArrays,
    encoded: Encoded,
    cross: tuple[Array, Array],
    found: Beams,
    beams: int,
) -> Beams:
    """One choice more for each plan, and the best `beams` of what comes of it."""
    decomposer, step = model.decomposer, found.step
    size, max_tasks = catalog.known.shape[0], decomposer.max_tasks
    batch, width = found.logp.shape
    rows = batch * width
    last = jax.lax.dynamic_index_in_dim(found.chosen, jnp.maximum(step - 1, 0), axis=2, keepdims=False)
    previous = jnp.where(step == 0, size, last).reshape(-1)  # [batch * width]
    x = decomposer.inputs(encoded.task_types, previous[:, None], catalog.projected) + decomposer.position[...][step]
    flat = jax.tree.map(lambda c: c.reshape(rows, *c.shape[2:]), found.cache)
    x, cache = decomposer.block.step(x, step, flat, cross, encoded.mask)
    state = decomposer.state(x.reshape(batch, width, -1), encoded.hidden, encoded.mask)
    labels = jnp.repeat(encoded.labels, width, axis=0)
    logits = decomposer.logits(catalog, encoded.directions, state.reshape(rows, -1), previous, labels)
    logits = logits.reshape(batch, width, -1)
    is_stop = jnp.arange(size + 1) == size
    if not model.spec.planner.decomposer.allow_repeats:
        logits = jnp.where(found.used & ~is_stop, _LOWEST, logits)
    logits = jnp.where((step == 0) & is_stop, _LOWEST, logits)  # a plan has at least one task
    logits = jnp.where((step == max_tasks) & ~is_stop, _LOWEST, logits)
    logp = jax.nn.log_softmax(logits, axis=-1)
    logp = jnp.where(found.done[..., None], jnp.where(is_stop, 0.0, _LOWEST), logp)
    total = jnp.maximum(found.logp[..., None] + logp, _LOWEST).reshape(batch, -1)
    if total.shape[1] < beams:  # of so few types one plan has fewer children than there are beams
        total = jnp.pad(total, ((0, 0), (0, beams - total.shape[1])), constant_values=_LOWEST)
    best, index = jax.lax.top_k(total, beams)
    parent, choice = jnp.minimum(index // (size + 1), width - 1), index % (size + 1)

    def of_parent(x: Array) -> Array:
        return jnp.take_along_axis(x, parent.reshape(batch, beams, *[1] * (x.ndim - 2)), axis=1)

    done = of_parent(found.done) | (choice == size)
    write = jnp.minimum(step, max_tasks - 1)
    fresh = ~done & (step < max_tasks)
    chosen, task_logp, states = of_parent(found.chosen), of_parent(found.task_logp), of_parent(found.states)
    choice_logp = jnp.take_along_axis(of_parent(logp), choice[..., None], axis=-1)[..., 0]
    return Beams(
        step=step + 1,
        chosen=chosen.at[:, :, write].set(jnp.where(fresh, choice, chosen[:, :, write])),
        states=states.at[:, :, write].set(jnp.where(fresh[..., None], of_parent(state), states[:, :, write])),
        task_logp=task_logp.at[:, :, write].set(jnp.where(fresh, choice_logp, task_logp[:, :, write])),
        logp=best,
        done=done,
        used=of_parent(found.used) | (jax.nn.one_hot(choice, size + 1, dtype=bool) & ~done[..., None]),
        cache=jax.tree.map(of_parent, _split_rows(cache, batch)),
    )


def _split_rows(cache: Any, batch: int) -> Any:
    """Arrays [batch * beams, ...] as [batch, beams, ...]."""
    return jax.tree.map(lambda c: c.reshape(batch, -1, *c.shape[1:]), cache)
