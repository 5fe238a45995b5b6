"""Message passing for GPUs: Pallas kernels that Triton compiles; attention weights never reach memory.

A program of the forward holds the targets of a block for one head and walks over the sources, as flash attention does.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu
from jaxtyping import Array, Bool, Float

from orchestai_kernels.graph_attention.config import Aggregation, GraphTiles, Static
from orchestai_kernels.graph_attention.vjp import GraphKernels, edge_gradients, edge_scores, pass_messages
from orchestai_kernels.head_blocks import HeadBlocks
from orchestai_kernels.online_softmax import softmax_end, softmax_step
from orchestai_kernels.tile_products import triton_product


def graph_attention_pallas_gpu(
    nodes: Float[Array, "batch n heads dim"],
    adjacency: Float[Array, "batch n n"],
    source_scores: Float[Array, "batch n heads"] | None,
    target_scores: Float[Array, "batch n heads"] | None,
    mask: Bool[Array, "batch n"] | None,
    *,
    aggregation: Aggregation,
    self_loops: bool,
    negative_slope: float,
    config: GraphTiles,
    interpret: bool,
) -> Float[Array, "batch n heads dim"]:
    """Message passing with a backward of its own."""
    static = Static(aggregation, negative_slope, config, interpret)
    return pass_messages(
        KERNELS, nodes, adjacency, source_scores, target_scores, mask, self_loops=self_loops, static=static
    )


def _forward_kernel(
    nodes: Any, weights: Any, source: Any, target: Any, out_ref: Any, norm_ref: Any, *, static: Static, steps: int
) -> None:
    tiles: GraphTiles = static.tiles
    targets = target[...]

    def step(index: Array, carry: Any) -> Any:
        acc, most, total = carry
        at = pl.ds(index * tiles.block_sources, tiles.block_sources)
        tile = weights[at, :]  # [sources, targets]
        if static.aggregation == "softmax":
            scores, _ = edge_scores(tile, source[at][:, None], targets[None, :], static.negative_slope)
            alpha, fade, most, total = softmax_step(scores, most, total, axis=0, exponential=jnp.exp)
            acc = acc * fade[:, None]
        else:
            alpha = tile
            total = total + jnp.sum(alpha, axis=0)
        return acc + triton_product(alpha.T.astype(nodes.dtype), nodes[at, :]), most, total

    carry = (
        jnp.zeros((tiles.block_targets, nodes.shape[-1]), jnp.float32),
        jnp.full(tiles.block_targets, -jnp.inf, jnp.float32),
        jnp.zeros(tiles.block_targets, jnp.float32),
    )
    acc, most, total = jax.lax.fori_loop(0, steps, step, carry)
    if static.aggregation == "softmax":
        acc, total = softmax_end(acc, most, total, axis=1, logarithm=jnp.log)
    elif static.aggregation == "mean":
        some = ~(total <= 0)  # not `total > 0`: a total of NaN must not vanish
        acc = jnp.where(some[:, None], acc / jnp.where(some, total, 1.0)[:, None], 0.0)
    out_ref[...] = acc.astype(out_ref.dtype)
    norm_ref[...] = total


def _source_kernel(
    nodes: Any,
    weights: Any,
    source: Any,
    target: Any,
    dout: Any,
    norms: Any,
    deltas: Any,
    dnodes_ref: Any,
    dsource_ref: Any,
    *,
    static: Static,
    steps: int,
) -> None:
    tiles: GraphTiles = static.tiles
    sent, sources = nodes[...], source[...]

    def step(index: Array, carry: Any) -> Any:
        dnodes, dsource = carry
        at = pl.ds(index * tiles.block_targets, tiles.block_targets)
        alpha, _, dscores = edge_gradients(
            weights[:, at],
            sources[:, None],
            target[at][None, :],
            triton_product(sent, dout[at, :], turned=True),
            norms[at][None, :],
            deltas[at][None, :],
            static,
        )
        return dnodes + triton_product(alpha.astype(sent.dtype), dout[at, :]), dsource + jnp.sum(dscores, axis=1)

    carry = jnp.zeros(sent.shape, jnp.float32), jnp.zeros(tiles.block_sources, jnp.float32)
    dnodes, dsource = jax.lax.fori_loop(0, steps, step, carry)
    dnodes_ref[...] = dnodes.astype(dnodes_ref.dtype)
    dsource_ref[...] = dsource


def _target_kernel(
    nodes: Any,
    weights: Any,
    source: Any,
    target: Any,
    dout: Any,
    norms: Any,
    deltas: Any,
    dtarget_ref: Any,
    *,
    static: Static,
    steps: int,
) -> None:
    tiles: GraphTiles = static.tiles
    received, targets, norm, delta = dout[...], target[...], norms[...], deltas[...]

    def step(index: Array, dtarget: Array) -> Array:
        at = pl.ds(index * tiles.block_sources, tiles.block_sources)
        _, _, dscores = edge_gradients(
            weights[at, :],
            source[at][:, None],
            targets[None, :],
            triton_product(nodes[at, :], received, turned=True),
            norm[None, :],
            delta[None, :],
            static,
        )
        return dtarget + jnp.sum(dscores, axis=0)

    dtarget_ref[...] = jax.lax.fori_loop(0, steps, step, jnp.zeros(tiles.block_targets, jnp.float32))


def _weight_kernel(
    nodes: Any,
    weights: Any,
    source: Any,
    target: Any,
    dout: Any,
    norms: Any,
    deltas: Any,
    dweights_ref: Any,
    *,
    static: Static,
    heads: int,
) -> None:
    tile = weights[...]

    def step(head: Array, dweights: Array) -> Array:
        _, dtile, _ = edge_gradients(
            tile,
            source[:, head][:, None],
            target[:, head][None, :],
            triton_product(nodes[:, head, :], dout[:, head, :], turned=True),
            norms[:, head][None, :],
            deltas[:, head][None, :],
            static,
        )
        return dweights + dtile

    dweights_ref[...] = jax.lax.fori_loop(0, heads, step, jnp.zeros(tile.shape, jnp.float32))


def _forward(nodes: Array, weights: Array, source: Array, target: Array, static: Static) -> tuple[Array, Array]:
    n, dim = nodes.shape[1], nodes.shape[3]
    tiles: GraphTiles = static.tiles
    nodes, weights, source, target = _padded(tiles, nodes, weights, source, target)
    blocks = _Blocks(nodes)
    out, norms = pl.pallas_call(
        functools.partial(_forward_kernel, static=static, steps=blocks.n // tiles.block_sources),
        grid=(blocks.n // tiles.block_targets, blocks.programs),
        in_specs=blocks.given(None, tiles.block_targets)[:4],
        out_specs=[blocks.along(tiles.block_targets, blocks.dim), blocks.along(tiles.block_targets)],
        out_shape=[
            jax.ShapeDtypeStruct(nodes.shape, nodes.dtype),
            jax.ShapeDtypeStruct(nodes.shape[:3], jnp.float32),
        ],
        compiler_params=plgpu.CompilerParams(num_warps=tiles.num_warps, num_stages=tiles.num_stages),
        interpret=static.interpret,
        name="graph_attention_forward",
    )(nodes, weights, source, target)
    return out[:, :n, :, :dim], norms[:, :n]


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
    n, heads, dim = nodes.shape[1:]
    tiles: GraphTiles = static.tiles
    given = _padded(tiles, nodes, weights, source, target, dout, norms, delta)
    blocks = _Blocks(given[0])
    params = plgpu.CompilerParams(num_warps=tiles.num_warps, num_stages=tiles.num_stages)
    numbers = jax.ShapeDtypeStruct(given[0].shape[:3], jnp.float32)
    block_s, block_t = tiles.block_sources, tiles.block_targets
    dnodes, dsource = pl.pallas_call(
        functools.partial(_source_kernel, static=static, steps=blocks.n // block_t),
        grid=(blocks.n // block_s, blocks.programs),
        in_specs=blocks.given(block_s, None),
        out_specs=[blocks.along(block_s, blocks.dim), blocks.along(block_s)],
        out_shape=[jax.ShapeDtypeStruct(given[0].shape, nodes.dtype), numbers],
        compiler_params=params,
        interpret=static.interpret,
        name="graph_attention_dsource",
    )(*given)
    dtarget = pl.pallas_call(
        functools.partial(_target_kernel, static=static, steps=blocks.n // block_s),
        grid=(blocks.n // block_t, blocks.programs),
        in_specs=blocks.given(None, block_t),
        out_specs=blocks.along(block_t),
        out_shape=numbers,
        compiler_params=params,
        interpret=static.interpret,
        name="graph_attention_dtarget",
    )(*given)

    def by(axis: int, block: int, *rest: int) -> pl.BlockSpec:
        """All heads of a block of nodes, by an axis of the grid (sources, targets, batch)."""
        return pl.BlockSpec((None, block, *rest), lambda *g: (g[2], g[axis], *([0] * len(rest))))

    tile = pl.BlockSpec((None, block_s, block_t), lambda i, j, b: (b, i, j))
    dweights = pl.pallas_call(
        functools.partial(_weight_kernel, static=static, heads=heads),
        grid=(blocks.n // block_s, blocks.n // block_t, nodes.shape[0]),
        in_specs=[
            by(0, block_s, heads, blocks.dim),
            tile,
            by(0, block_s, heads),
            by(1, block_t, heads),
            by(1, block_t, heads, blocks.dim),
            by(1, block_t, heads),
            by(1, block_t, heads),
        ],
        out_specs=tile,
        out_shape=jax.ShapeDtypeStruct(given[1].shape, jnp.float32),
        compiler_params=params,
        interpret=static.interpret,
        name="graph_attention_dweights",
    )(*given)
    return dnodes[:, :n, :, :dim], dweights[:, :n, :n], dsource[:, :n], dtarget[:, :n]


class _Blocks(HeadBlocks):
    """Of the arrays that the kernels read, [batch, n, ...]: blocks of targets or of sources, and all of the others."""

    def __init__(self, nodes: Array):
        batch, self.n, heads, self.dim = nodes.shape
        super().__init__(heads)
        self.programs = batch * heads

    def along(self, block: int | None, dim: int | None = None) -> pl.BlockSpec:
        """A block of nodes, or of a number for each; all of them for None."""
        return self.whole(self.n, dim) if block is None else self.block(block, dim)

    def given(self, sources: int | None, targets: int | None) -> list[pl.BlockSpec]:
        """Of (nodes, weights, source, target, dout, norms, deltas): either the sources or the targets by blocks."""
        if sources is None:
            edges = pl.BlockSpec((None, self.n, targets), lambda i, p: (self.of(p)[0], 0, i))
        else:
            edges = pl.BlockSpec((None, sources, self.n), lambda i, p: (self.of(p)[0], i, 0))
        of_targets = [self.along(targets), self.along(targets, self.dim), self.along(targets), self.along(targets)]
        return [self.along(sources, self.dim), edges, self.along(sources), *of_targets]


def _padded(tiles: GraphTiles, *arrays: Array) -> list[Array]:
    """Nodes in whole blocks, with no edges between what is added, and dims of a power of two from 16 on."""
    block = max(tiles.block_sources, tiles.block_targets)  # powers of two: the larger is a multiple
    padded = []
    for array in arrays:
        extra = -array.shape[1] % block
        widths = [(0, 0), (0, extra)]
        if array.ndim == 4:
            widths += [(0, 0), (0, max(16, pl.next_power_of_2(array.shape[3])) - array.shape[3])]
        elif array.shape[1] == array.shape[2] and array is arrays[1]:
            widths += [(0, extra)]
        else:
            widths += [(0, 0)]
        padded.append(jnp.pad(array, widths))
    return padded


KERNELS = GraphKernels(_forward, _backward)
