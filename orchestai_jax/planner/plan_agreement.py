"""How much plans have in common."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def agreement(
    plans: Int[Array, "batch P J"], others: Int[Array, "batch Q J2"], num_task_types: int
) -> Float[Array, "batch P Q"]:
    """Of each plan and each other, the mean of the F1 of their sets of task types and of their sets of pairs of
    neighbours. What is not a task (`num_task_types` and above) stands after all
    tasks only."""

    def sets(x: Array) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        tasks = x < num_task_types
        return _as_set(x, tasks), _as_set(x[..., :-1] * num_task_types + x[..., 1:], tasks[..., 1:])

    (tasks, pairs), (other_tasks, other_pairs) = sets(plans), sets(others)
    return (_f1(tasks, other_tasks) + _f1(pairs, other_pairs)) / 2


def _as_set(items: Array, valid: Array) -> tuple[Array, Array]:
    repeats = jnp.tril(items[..., :, None] == items[..., None, :], k=-1)
    return items, valid & ~jnp.any(repeats, axis=-1)  # what comes again does not count again


def _f1(a: tuple[Array, Array], b: tuple[Array, Array]) -> Array:
    (items, valid), (others, also) = a, b
    same = items[:, :, None, :, None] == others[:, None, :, None, :]
    both = valid[:, :, None, :, None] & also[:, None, :, None, :]
    shared = jnp.sum(same & both, axis=(3, 4))
    total = jnp.sum(valid, axis=-1)[:, :, None] + jnp.sum(also, axis=-1)[:, None, :]
    return jnp.where(total > 0, 2 * shared / jnp.maximum(total, 1), 1.0)
