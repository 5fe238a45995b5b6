"""`encoder_block` by the C++ library, through the XLA FFI."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from orchestai_kernels.cpu.config import CpuConfig, checked
from orchestai_kernels.encoder_block.reference import reference
from orchestai_kernels.encoder_block.weights import BlockWeights

PANEL = 32
"""What the widths of heads and of the feed-forward must be multiples of."""


def accepts(x: Any, mask: Any, weights: BlockWeights, *, heads: int, epsilon: float) -> None:
    """Raise NotImplementedError for what the library does not take."""
    wide = weights.up.kernel.shape[-1]
    if x.shape[-1] // heads % PANEL or wide % PANEL:
        raise NotImplementedError(
            f"wants heads and a feed-forward of multiples of {PANEL} columns, got {x.shape[-1] // heads} and {wide}"
        )
    for leaf in (x, *jax.tree.leaves(weights)):
        if leaf.dtype != jnp.float32:
            raise NotImplementedError(f"wants float32, got {leaf.dtype}")


def cpu(
    x: Float[Array, "batch n hidden"],
    mask: Bool[Array, "batch n"],
    weights: BlockWeights,
    *,
    heads: int,
    epsilon: float,
    config: CpuConfig,
) -> Float[Array, "batch n hidden"]:
    """The whole block in one call, without the tokens behind a sequence's last that counts: those come out as zero.

    The gradient is the reference's. Under vmap the weights must be the same for all.
    """
    return _block(heads, epsilon, checked(config), x, mask, weights)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _block(heads: int, epsilon: float, config: CpuConfig, x: Array, mask: Array, weights: BlockWeights) -> Array:
    call = jax.ffi.ffi_call(
        "orchestai_encoder_block", jax.ShapeDtypeStruct(x.shape, x.dtype), vmap_method="expand_dims"
    )
    options = {"heads": np.int64(heads), "epsilon": np.float32(epsilon)}
    y: Any = call(x, mask, *jax.tree.leaves(weights), **options, instructions=config.instructions)
    return y


def _forward(heads: int, epsilon: float, config: CpuConfig, x: Array, mask: Array, weights: BlockWeights) -> Any:
    return _block(heads, epsilon, config, x, mask, weights), (x, mask, weights)


def _backward(heads: int, epsilon: float, config: CpuConfig, kept: Any, dy: Array) -> Any:
    x, mask, weights = kept
    last = mask.shape[1] - jnp.argmax(mask[:, ::-1], axis=1)  # behind the last that counts
    counts = (jnp.arange(mask.shape[1]) < jnp.where(jnp.any(mask, axis=1), last, 0)[:, None])[..., None]
    _, pull = jax.vjp(lambda x, weights: reference(x, mask, weights, heads=heads, epsilon=epsilon), x, weights)
    dx, dweights = pull(jnp.where(counts, dy, 0.0))
    return dx, np.zeros(mask.shape, jax.dtypes.float0), dweights


_block.defvjp(_forward, _backward)
