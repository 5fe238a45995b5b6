"""`ternary_encoder_block` by the C++ library, through the XLA FFI."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from orchestai_kernels.cpu.config import CpuConfig, checked
from orchestai_kernels.encoder_block.cpu import PANEL
from orchestai_kernels.ternary_encoder_block.reference import reference
from orchestai_kernels.ternary_encoder_block.weights import TernaryBlockWeights, TernaryDense


def accepts(x: Any, mask: Any, weights: TernaryBlockWeights, *, heads: int, epsilon: float, sub_epsilon: float) -> None:
    """Raise NotImplementedError for what the library does not take."""
    if x.shape[-1] // heads % PANEL or weights.wide % PANEL:
        raise NotImplementedError(
            f"wants heads and a feed-forward of multiples of {PANEL} columns, got {x.shape[-1] // heads} and "
            f"{weights.wide}"
        )
    for leaf in (x, *jax.tree.leaves(weights)):
        if leaf.dtype not in (jnp.float32, jnp.uint8):
            raise NotImplementedError(f"wants float32, got {leaf.dtype}")


def cpu(
    x: Float[Array, "batch n hidden"],
    mask: Bool[Array, "batch n"],
    weights: TernaryBlockWeights,
    *,
    heads: int,
    epsilon: float,
    sub_epsilon: float,
    config: CpuConfig,
) -> Float[Array, "batch n hidden"]:
    """The whole block in one call, without the tokens behind a sequence's last that counts: those come out as zero.

    The gradient is the reference's. Under vmap the weights must be the same for all.
    """
    return _block(heads, (epsilon, sub_epsilon), checked(config), x, mask, weights)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _block(
    heads: int, epsilons: tuple[float, float], config: CpuConfig, x: Array, mask: Array, weights: TernaryBlockWeights
) -> Array:
    call = jax.ffi.ffi_call(
        "orchestai_ternary_encoder_block", jax.ShapeDtypeStruct(x.shape, x.dtype), vmap_method="expand_dims"
    )
    none = jnp.zeros((0,), x.dtype)
    attention_sub, feed_forward_sub = (
        none if norm is None else norm for norm in (weights.attention_sub_norm, weights.feed_forward_sub_norm)
    )
    given = (
        *_parts(weights.qkv),
        attention_sub,
        *_parts(weights.out),
        *jax.tree.leaves(weights.attention_norm),
        *_parts(weights.up),
        feed_forward_sub,
        *_parts(weights.down),
        *jax.tree.leaves(weights.feed_forward_norm),
    )
    epsilon, sub_epsilon = map(np.float32, epsilons)
    options = {"heads": np.int64(heads), "epsilon": epsilon, "sub_epsilon": sub_epsilon}
    y: Any = call(x, mask, *given, **options, instructions=config.instructions)
    return y


def _parts(of: TernaryDense) -> tuple[Array, Array, Array]:
    return of.matrix.codes, of.row_scale(), of.bias


def _forward(heads: int, epsilons: Any, config: CpuConfig, x: Array, mask: Array, weights: TernaryBlockWeights) -> Any:
    return _block(heads, epsilons, config, x, mask, weights), (x, mask, weights)


def _backward(heads: int, epsilons: tuple[float, float], config: CpuConfig, kept: Any, dy: Array) -> Any:
    x, mask, weights = kept
    last = mask.shape[1] - jnp.argmax(mask[:, ::-1], axis=1)  # behind the last that counts
    counts = (jnp.arange(mask.shape[1]) < jnp.where(jnp.any(mask, axis=1), last, 0)[:, None])[..., None]
    options = {"heads": heads, "epsilon": epsilons[0], "sub_epsilon": epsilons[1]}
    _, pull = jax.vjp(lambda x, weights: reference(x, mask, weights, **options), x, weights)
    dx, dweights = pull(jnp.where(counts, dy, 0.0))
    return dx, np.zeros(mask.shape, jax.dtypes.float0), dweights


_block.defvjp(_forward, _backward)
