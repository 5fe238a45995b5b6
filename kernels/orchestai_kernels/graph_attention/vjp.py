"""Message passing with a backward of its own: what the kernels of every platform have in common.

Kernels see edge weights that masks and self-loops have been worked into. The forward keeps the output and one number a
(target, head): the logarithm of the sum for `softmax`, the sum for `mean`; the backward computes the weights again.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from orchestai_kernels.graph_attention.config import Aggregation, Static
from orchestai_kernels.graph_attention.reference import edge_weights, without_masked


@dataclasses.dataclass(frozen=True)
class GraphKernels:
    """The kernels of a platform. Nodes are [batch, n, heads, dim], weights [batch, n, n] and scores [batch, n, heads]
    float32; norms and delta float32 [batch, n, heads].
    """

    forward: Callable[..., tuple[Array, Array]]
    """(nodes, weights, source_scores, target_scores, static) → (out, norms)."""
    backward: Callable[..., tuple[Array, Array, Array, Array]]
    """(nodes, weights, source_scores, target_scores, dout, norms, delta, static) → the gradients of the first four."""


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _passing(
    kernels: GraphKernels, static: Static, nodes: Array, weights: Array, source: Array, target: Array
) -> Array:
    return kernels.forward(nodes, weights, source, target, static)[0]


def _passing_forward(
    kernels: GraphKernels, static: Static, nodes: Array, weights: Array, source: Array, target: Array
) -> tuple[Array, Any]:
    out, norms = kernels.forward(nodes, weights, source, target, static)
    return out, (nodes, weights, source, target, out, norms)


def _passing_backward(kernels: GraphKernels, static: Static, kept: Any, dout: Array) -> tuple[Array, ...]:
    nodes, weights, source, target, out, norms = kept
    delta = jnp.sum(out.astype(jnp.float32) * dout.astype(jnp.float32), axis=-1)
    return kernels.backward(nodes, weights, source, target, dout.astype(nodes.dtype), norms, delta, static)


_passing.defvjp(_passing_forward, _passing_backward)


def pass_messages(
    kernels: GraphKernels,
    nodes: Float[Array, "batch n heads dim"],
    adjacency: Float[Array, "batch n n"],
    source_scores: Float[Array, "batch n heads"] | None,
    target_scores: Float[Array, "batch n heads"] | None,
    mask: Bool[Array, "batch n"] | None,
    *,
    self_loops: bool,
    static: Static,
) -> Float[Array, "batch n heads dim"]:
    """Message passing by a platform's kernels."""
    weights = edge_weights(adjacency.astype(jnp.float32), mask, self_loops)
    none = jnp.zeros(nodes.shape[:3], jnp.float32)
    source, target = (none if x is None else x.astype(jnp.float32) for x in (source_scores, target_scores))
    out: Array = _passing(kernels, static, without_masked(nodes, mask), weights, source, target)
    return without_masked(out, mask)


def graph_accepts(nodes: Any, adjacency: Any, *args: Any, **options: Any) -> None:
    """Raises NotImplementedError for what the kernels do not take."""
    if 0 in nodes.shape:
        raise NotImplementedError(f"wants no empty axis, got nodes {tuple(nodes.shape)}")
    if nodes.dtype not in (jnp.float32, jnp.bfloat16, jnp.float16):
        raise NotImplementedError(f"wants float32, bfloat16 or float16, got {nodes.dtype}")


def edge_scores(weights: Array, source: Array, target: Array, slope: float) -> tuple[Array, Array]:
    """Within a kernel, for a tile of edges: (softmax scores, -inf off the edges; the leaky ReLU's slope). Source and
    target scores broadcast to the tile.
    """
    raw = source + target
    steepness = jnp.where(raw >= 0, 1.0, slope)
    edges = ~(weights <= 0)  # not `weights > 0`: a weight of NaN must not vanish
    prior = jnp.log(jnp.where(edges, weights, 1.0))
    return jnp.where(edges, raw * steepness + prior, -jnp.inf), steepness


def edge_gradients(
    weights: Array, source: Array, target: Array, dmessage: Array, norm: Array, delta: Array, static: Static
) -> tuple[Array, Array, Array]:
    """Within a kernel, for a tile of edges: (alpha, gradient of the weights, gradient of the summed scores).

    `dmessage` is nodes_s · dout_t; `norm` and `delta` are the targets', and everything broadcasts to the tile.
    """
    aggregation: Aggregation = static.aggregation
    if aggregation == "softmax":
        scores, steepness = edge_scores(weights, source, target, static.negative_slope)
        edges = ~(weights <= 0)
        alpha = jnp.where(edges, jnp.exp(scores - jnp.where(norm == -jnp.inf, 0.0, norm)), 0.0)
        dscores = alpha * (dmessage - delta)
        return alpha, jnp.where(edges, dscores / jnp.where(edges, weights, 1.0), 0.0), dscores * steepness
    if aggregation == "mean":
        some = ~(norm <= 0)
        inverse = jnp.where(some, 1.0 / jnp.where(some, norm, 1.0), 0.0)
        return weights * inverse, (dmessage - delta) * inverse, jnp.zeros_like(dmessage)
    return weights, dmessage, jnp.zeros_like(dmessage)
