"""The softmax of kernels that see a row of scores tile by tile (Milakov & Gimelshein 2018, algorithm 3)."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array


def softmax_step(
    scores: Array, most: Array, total: Array, *, axis: int, exponential: Callable[[Array], Array]
) -> tuple[Array, Array, Array, Array]:
    """Within a kernel, the next tile of scores: (its weights, what older weights fade by, most, total).

    Weights are exponential(score - most), `most` is the largest score so far and `total` the sum of the weights, both
    without `axis`, or with 1 there; they begin as -inf and 0. Scores of -inf do not count. A sum of weighted values is
    kept up with as sum · fade + weights · values.
    """
    keep = most.ndim == scores.ndim
    higher = jnp.maximum(most, jnp.max(scores, axis=axis, keepdims=keep))
    shift = jnp.where(higher == -jnp.inf, 0.0, higher)  # -inf - -inf would be NaN
    weights = exponential(scores - (shift if keep else jnp.expand_dims(shift, axis)))
    fade = exponential(most - shift)
    return weights, fade, higher, total * fade + jnp.sum(weights, axis=axis, keepdims=keep)


def softmax_end(
    weighted: Array, most: Array, total: Array, *, axis: int, logarithm: Callable[[Array], Array]
) -> tuple[Array, Array]:
    """Within a kernel: (the sum of weighted values over the total, zero where nothing counted; the logarithm of the
    sum of exponentials, -inf there).
    """
    over = jnp.where(total == 0, 1.0, total)
    return weighted / (over if over.ndim == weighted.ndim else jnp.expand_dims(over, axis)), most + logarithm(total)
