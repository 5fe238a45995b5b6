"""The fused gate for GPUs: a Pallas kernel that Triton compiles. A program holds a tile of both products at once."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu
from jaxtyping import Array, Float

from orchestai_kernels.feed_forward.activations import Activation
from orchestai_kernels.feed_forward.config import GpuTiles
from orchestai_kernels.feed_forward.vjp import Static, combine, fused_feed_forward
from orchestai_kernels.tile_products import triton_product


def feed_forward_pallas_gpu(
    x: Float[Array, "tokens hidden"],
    gate: Float[Array, "gate_rows hidden"],
    up: Float[Array, "features hidden"] | None,
    down: Float[Array, "out features"],
    norm: Float[Array, "features"] | None,
    *,
    activation: Activation,
    epsilon: float,
    config: GpuTiles,
    interpret: bool,
) -> Float[Array, "tokens out"]:
    """The gate in one kernel, its backward in another; the projection down by XLA."""
    static = Static(activation, config, interpret)
    return fused_feed_forward(_gated, x, gate, up, down, norm, epsilon=epsilon, static=static)


def _kernel(x: Any, gate: Any, up: Any, dhidden: Any, *outs: Any, static: Static, steps: int) -> None:
    tiles: GpuTiles = static.tiles

    def step(index: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        at = pl.ds(index * tiles.block_hidden, tiles.block_hidden)
        part = x[:, at]
        opened, raised = carry
        opened = opened + triton_product(part, gate[:, at], turned=True)
        return opened, raised + triton_product(part, up[:, at], turned=True)

    zero = jnp.zeros((tiles.block_tokens, tiles.block_features), jnp.float32)
    opened, raised = jax.lax.fori_loop(0, steps, step, (zero, zero))
    given = None if dhidden is None else dhidden[...].astype(jnp.float32)
    for out, value in zip(outs, combine(opened, raised, given, static.activation), strict=True):
        out[...] = value.astype(out.dtype)


def _gated(x: Array, gate: Array, up: Array, static: Static, dhidden: Array | None) -> tuple[Array, ...]:
    tiles: GpuTiles = static.tiles
    tokens, features = x.shape[0], gate.shape[0]
    x, gate, up = (
        _pad(array, block, tiles.block_hidden)
        for array, block in ((x, tiles.block_tokens), (gate, tiles.block_features), (up, tiles.block_features))
    )
    dhidden = None if dhidden is None else _pad(dhidden, tiles.block_tokens, tiles.block_features)
    hidden = x.shape[1]
    tile = pl.BlockSpec((tiles.block_tokens, tiles.block_features), lambda i, j: (i, j))
    rows = pl.BlockSpec((tiles.block_features, hidden), lambda i, j: (j, 0))
    count = 1 if dhidden is None else 2
    outs = pl.pallas_call(
        functools.partial(_kernel, static=static, steps=hidden // tiles.block_hidden),
        grid=(x.shape[0] // tiles.block_tokens, gate.shape[0] // tiles.block_features),
        in_specs=[
            pl.BlockSpec((tiles.block_tokens, hidden), lambda i, j: (i, 0)),
            rows,
            rows,
            None if dhidden is None else tile,
        ],
        out_specs=[tile] * count,
        out_shape=[jax.ShapeDtypeStruct((x.shape[0], gate.shape[0]), x.dtype)] * count,
        compiler_params=plgpu.CompilerParams(num_warps=tiles.num_warps, num_stages=tiles.num_stages),
        interpret=static.interpret,
        name="feed_forward_gate" if dhidden is None else "feed_forward_gate_backward",
    )(x, gate, up, dhidden)
    return tuple(out[:tokens, :features] for out in outs)


def _pad(x: Array, rows: int, columns: int) -> Array:
    return jnp.pad(x, ((0, -x.shape[0] % rows), (0, -x.shape[1] % columns)))
