"""The fused gate for TPUs: a Pallas kernel that Mosaic compiles. The grid's last axis sums over x's columns."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jaxtyping import Array, Float

from orchestai_kernels.feed_forward.activations import Activation
from orchestai_kernels.feed_forward.config import TpuTiles
from orchestai_kernels.feed_forward.vjp import Static, combine, fused_feed_forward
from orchestai_kernels.tile_products import mosaic_product


def feed_forward_pallas_tpu(
    x: Float[Array, "tokens hidden"],
    gate: Float[Array, "gate_rows hidden"],
    up: Float[Array, "features hidden"] | None,
    down: Float[Array, "out features"],
    norm: Float[Array, "features"] | None,
    *,
    activation: Activation,
    epsilon: float,
    config: TpuTiles,
    interpret: bool,
) -> Float[Array, "tokens out"]:
    """The gate in one kernel, its backward in another; the projection down by XLA."""
    static = Static(activation, config, interpret)
    return fused_feed_forward(_gated, x, gate, up, down, norm, epsilon=epsilon, static=static)


def _kernel(x: Any, gate: Any, up: Any, dhidden: Any, *rest: Any, static: Static) -> None:
    *outs, opened, raised = rest
    step = pl.program_id(2)

    @pl.when(step == 0)
    def _start() -> None:
        opened[...] = jnp.zeros_like(opened)
        raised[...] = jnp.zeros_like(raised)

    opened[...] += mosaic_product(x[...], gate[...], (1, 1))
    raised[...] += mosaic_product(x[...], up[...], (1, 1))

    @pl.when(step == pl.num_programs(2) - 1)
    def _end() -> None:
        given = None if dhidden is None else dhidden[...].astype(jnp.float32)
        for out, value in zip(outs, combine(opened[...], raised[...], given, static.activation), strict=True):
            out[...] = value.astype(out.dtype)


def _gated(x: Array, gate: Array, up: Array, static: Static, dhidden: Array | None) -> tuple[Array, ...]:
    tiles: TpuTiles = static.tiles
    tokens, features = x.shape[0], gate.shape[0]
    x, gate, up = (
        _pad(array, block, tiles.block_hidden)
        for array, block in ((x, tiles.block_tokens), (gate, tiles.block_features), (up, tiles.block_features))
    )
    dhidden = None if dhidden is None else _pad(dhidden, tiles.block_tokens, tiles.block_features)
    tile = pl.BlockSpec((tiles.block_tokens, tiles.block_features), lambda i, j, k: (i, j))
    rows = pl.BlockSpec((tiles.block_features, tiles.block_hidden), lambda i, j, k: (j, k))
    count = 1 if dhidden is None else 2
    sums = pltpu.VMEM((tiles.block_tokens, tiles.block_features), jnp.float32)
    outs = pl.pallas_call(
        functools.partial(_kernel, static=static),
        grid=(
            x.shape[0] // tiles.block_tokens,
            gate.shape[0] // tiles.block_features,
            x.shape[1] // tiles.block_hidden,
        ),
        in_specs=[
            pl.BlockSpec((tiles.block_tokens, tiles.block_hidden), lambda i, j, k: (i, k)),
            rows,
            rows,
            None if dhidden is None else tile,
        ],
        out_specs=[tile] * count,
        out_shape=[jax.ShapeDtypeStruct((x.shape[0], gate.shape[0]), x.dtype)] * count,
        scratch_shapes=[sums, sums],
        compiler_params=pltpu.CompilerParams(dimension_semantics=("parallel", "parallel", "arbitrary")),
        interpret=static.interpret,
        name="feed_forward_gate" if dhidden is None else "feed_forward_gate_backward",
    )(x, gate, up, dhidden)
    return tuple(out[:tokens, :features] for out in outs)


def _pad(x: Array, rows: int, columns: int) -> Array:
    return jnp.pad(x, ((0, -x.shape[0] % rows), (0, -x.shape[1] % columns)))
