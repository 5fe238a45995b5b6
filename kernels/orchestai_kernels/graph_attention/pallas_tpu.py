"""Message passing for TPUs: Pallas kernels that Mosaic compiles, a whole graph a program."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jaxtyping import Array, Bool, Float

from orchestai_kernels.graph_attention.config import Aggregation, Static
from orchestai_kernels.graph_attention.vjp import (
    GraphKernels,
    edge_gradients,
    edge_scores,
    graph_accepts,
    pass_messages,
)
from orchestai_kernels.tile_products import mosaic_product

MOST_NODES = 512
"""What fits a TPU's vector memory with its gradients: seven [n, n] float32 tiles."""
_LANES = 128


def graph_attention_pallas_tpu(
    nodes: Float[Array, "batch n heads dim"],
    adjacency: Float[Array, "batch n n"],
    source_scores: Float[Array, "batch n heads"] | None,
    target_scores: Float[Array, "batch n heads"] | None,
    mask: Bool[Array, "batch n"] | None,
    *,
    aggregation: Aggregation,
    self_loops: bool,
    negative_slope: float,
    interpret: bool,
) -> Float[Array, "batch n heads dim"]:
    """Message passing with a backward of its own."""
    static = Static(aggregation, negative_slope, None, interpret)
    return pass_messages(
        KERNELS, nodes, adjacency, source_scores, target_scores, mask, self_loops=self_loops, static=static
    )


def tpu_accepts(nodes: Any, adjacency: Any, *args: Any, **options: Any) -> None:
    """Raises NotImplementedError for what the kernels do not take."""
    graph_accepts(nodes, adjacency)
    if nodes.shape[1] > MOST_NODES:
        raise NotImplementedError(f"takes graphs of up to {MOST_NODES} nodes, got {nodes.shape[1]}")


def _forward_kernel(
    nodes: Any, weights: Any, source: Any, target: Any, out_ref: Any, norm_ref: Any, *, static: Static
) -> None:
    tile = weights[...]  # [sources, targets]
    for head in range(nodes.shape[0]):
        norm = jnp.zeros((1, tile.shape[1]), jnp.float32)
        alpha = tile
        if static.aggregation == "softmax":
            scores, _ = edge_scores(tile, source[head], target[head], static.negative_slope)
            most = jnp.max(scores, axis=0, keepdims=True)
            alpha = jnp.exp(scores - jnp.where(most == -jnp.inf, 0.0, most))
            total = jnp.sum(alpha, axis=0, keepdims=True)
            alpha = alpha / jnp.where(total == 0, 1.0, total)
            norm = most + jnp.log(total)
        elif static.aggregation == "mean":
            norm = jnp.sum(tile, axis=0, keepdims=True)
            some = ~(norm <= 0)  # not `norm > 0`: a total of NaN must not vanish
            alpha = jnp.where(some, tile / jnp.where(some, norm, 1.0), 0.0)
        out_ref[head] = mosaic_product(alpha.astype(nodes.dtype), nodes[head], (0, 0)).astype(out_ref.dtype)
        norm_ref[head] = norm


def _backward_kernel(
    nodes: Any,
    weights: Any,
    source: Any,
    target: Any,
    dout: Any,
    norms: Any,
    deltas: Any,
    dnodes_ref: Any,
    dweights_ref: Any,
    dsource_ref: Any,
    dtarget_ref: Any,
    *,
    static: Static,
) -> None:
    tile = weights[...]
    dweights = jnp.zeros_like(tile)
    for head in range(nodes.shape[0]):
        dmessage = mosaic_product(nodes[head], dout[head], (1, 1))
        alpha, dtile, dscores = edge_gradients(
            tile, source[head], target[head], dmessage, norms[head], deltas[head], static
        )
        dweights += dtile
        dnodes_ref[head] = mosaic_product(alpha.astype(dout.dtype), dout[head], (1, 0)).astype(dnodes_ref.dtype)
        dsource_ref[head] = jnp.sum(dscores, axis=1, keepdims=True)
        dtarget_ref[head] = jnp.sum(dscores, axis=0, keepdims=True)
    dweights_ref[...] = dweights


def _forward(nodes: Array, weights: Array, source: Array, target: Array, static: Static) -> tuple[Array, Array]:
    n, dim = nodes.shape[1], nodes.shape[3]
    given = [_by_head(nodes), _edges(weights), _column(source), _row(target)]
    batch, heads, size, width = given[0].shape
    out, norms = pl.pallas_call(
        functools.partial(_forward_kernel, static=static),
        grid=(batch,),
        in_specs=[_whole(x) for x in given],
        out_specs=[_block(heads, size, width), _block(heads, 1, size)],
        out_shape=[
            jax.ShapeDtypeStruct(given[0].shape, nodes.dtype),
            jax.ShapeDtypeStruct((batch, heads, 1, size), jnp.float32),
        ],
        compiler_params=pltpu.CompilerParams(dimension_semantics=("parallel",)),
        interpret=static.interpret,
        name="graph_attention_forward",
    )(*given)
    return jnp.swapaxes(out, 1, 2)[:, :n, :, :dim], jnp.swapaxes(norms[:, :, 0, :n], 1, 2)


def _backward(
    nodes: Array,
    weights: Array,
    source: Array,
    target: Array,
    dout: Array,
    norms: Array,
    delta: Array,
    static: Static,
) -> tuple[Array, Array, Array, Array]:
    n, dim = nodes.shape[1], nodes.shape[3]
    given = [_by_head(nodes), _edges(weights), _column(source), _row(target), _by_head(dout), _row(norms), _row(delta)]
    batch, heads, size, width = given[0].shape
    shapes = [(heads, size, width), (size, size), (heads, size, 1), (heads, 1, size)]
    dnodes, dweights, dsource, dtarget = pl.pallas_call(
        functools.partial(_backward_kernel, static=static),
        grid=(batch,),
        in_specs=[_whole(x) for x in given],
        out_specs=[_block(*shape) for shape in shapes],
        out_shape=[
            jax.ShapeDtypeStruct((batch, *shape), nodes.dtype if index == 0 else jnp.float32)
            for index, shape in enumerate(shapes)
        ],
        compiler_params=pltpu.CompilerParams(dimension_semantics=("parallel",)),
        interpret=static.interpret,
        name="graph_attention_backward",
    )(*given)
    return (
        jnp.swapaxes(dnodes, 1, 2)[:, :n, :, :dim],
        dweights[:, :n, :n],
        jnp.swapaxes(dsource[:, :, :n, 0], 1, 2),
        jnp.swapaxes(dtarget[:, :, 0, :n], 1, 2),
    )


def _block(*shape: int) -> pl.BlockSpec:
    return pl.BlockSpec((None, *shape), lambda b: (b, *([0] * len(shape))))


def _whole(x: Array) -> pl.BlockSpec:
    return _block(*x.shape[1:])


def _pad(x: Array, axes: tuple[int, ...]) -> Array:
    return jnp.pad(x, [(0, -size % _LANES if axis in axes else 0) for axis, size in enumerate(x.shape)])


def _by_head(x: Array) -> Array:
    """[batch, n, heads, dim] → [batch, heads, n and dim in whole lanes]."""
    return _pad(jnp.swapaxes(x, 1, 2), (2, 3))


def _edges(x: Array) -> Array:
    """[batch, n, n] in whole lanes; no edges between what is added."""
    return _pad(x, (1, 2))


def _column(x: Array) -> Array:
    """[batch, n, heads] → [batch, heads, n in whole lanes, 1]."""
    return _pad(jnp.swapaxes(x, 1, 2)[..., None], (2,))


def _row(x: Array) -> Array:
    """[batch, n, heads] → [batch, heads, 1, n in whole lanes]."""
    return _pad(jnp.swapaxes(x, 1, 2)[:, :, None, :], (3,))


KERNELS = GraphKernels(_forward, _backward)
