"""The definition of message passing on dense graphs, in plain jax.numpy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from orchestai_kernels.graph_attention.config import Aggregation
from orchestai_kernels.precision import product_precision


def graph_attention_reference(
    nodes: Float[Array, "batch n heads dim"],
    adjacency: Float[Array, "batch n n"],
    source_scores: Float[Array, "batch n heads"] | None,
    target_scores: Float[Array, "batch n heads"] | None,
    mask: Bool[Array, "batch n"] | None,
    *,
    aggregation: Aggregation,
    self_loops: bool,
    negative_slope: float,
) -> Float[Array, "batch n heads dim"]:
    """out_t = sum over s of alpha(s, t) nodes_s, in float32 (float64 for float64).

    With A the adjacency without masked nodes, and with 1 on the diagonal where it is 0 if `self_loops`: alpha(s, t) is
    A[s, t] for `sum`; A[s, t] / sum over s of A[s, t] for `mean`, zero where that sum is not above 0 (Hamilton et al.
    2017, algorithm 1); for `softmax`, over the edges A[s, t] > 0, proportional to
    A[s, t] exp(LeakyReLU(source_scores_s + target_scores_t)) (Veličković et al. 2018, equation 3). Masked nodes and
    those that nothing points to come out as zero.
    """
    wide, precision = jnp.promote_types(nodes.dtype, jnp.float32), product_precision(nodes.dtype)
    weights = edge_weights(adjacency.astype(wide), mask, self_loops)
    sent = without_masked(nodes.astype(wide), mask)
    # b: batch, s: source, t: target, h: head, d: dim
    if aggregation == "softmax":
        assert source_scores is not None
        assert target_scores is not None
        by_source = jnp.swapaxes(source_scores.astype(wide), 1, 2)[:, :, :, None]
        by_target = jnp.swapaxes(target_scores.astype(wide), 1, 2)[:, :, None, :]
        scores = jax.nn.leaky_relu(by_source + by_target, negative_slope)  # [b, h, s, t]
        edges = ~(weights <= 0)  # not `weights > 0`: a weight of NaN must not vanish
        prior = jnp.log(jnp.where(edges, weights, 1.0))
        scores = jnp.where(edges[:, None], scores + prior[:, None], -jnp.inf)
        most = jax.lax.stop_gradient(jnp.max(scores, axis=2, keepdims=True, initial=-jnp.inf))
        alpha = jnp.exp(scores - jnp.where(most == -jnp.inf, 0.0, most))
        total = jnp.sum(alpha, axis=2, keepdims=True)
        alpha = alpha / jnp.where(total == 0, 1.0, total)
        out = jnp.einsum("bhst,bshd->bthd", alpha, sent, precision=precision)
    else:
        out = jnp.einsum("bst,bshd->bthd", weights, sent, precision=precision)
        if aggregation == "mean":
            total = jnp.sum(weights, axis=1)[:, :, None, None]
            some = ~(total <= 0)
            out = jnp.where(some, out / jnp.where(some, total, 1.0), 0.0)
    return without_masked(out, mask).astype(nodes.dtype)


def edge_weights(
    adjacency: Float[Array, "batch n n"], mask: Bool[Array, "batch n"] | None, self_loops: bool
) -> Float[Array, "batch n n"]:
    """The adjacency without edges from or to masked nodes, and with self-loops of 1 where there are none if wanted."""
    if mask is not None:
        # Chosen, not multiplied: a NaN times 0 would stay, here and in the products with the nodes.
        adjacency = jnp.where(mask[:, :, None] & mask[:, None, :], adjacency, 0.0)
    if self_loops:
        looped = jnp.eye(adjacency.shape[1], dtype=bool) & (adjacency == 0)
        adjacency = jnp.where(looped, 1.0, adjacency)
    return adjacency


def without_masked(
    nodes: Float[Array, "batch n heads dim"], mask: Bool[Array, "batch n"] | None
) -> Float[Array, "batch n heads dim"]:
    """Zero for masked nodes."""
    return nodes if mask is None else jnp.where(mask[:, :, None, None], nodes, 0.0)
