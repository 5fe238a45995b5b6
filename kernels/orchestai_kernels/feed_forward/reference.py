"""The definition of the gated feed-forward layer, and its plain compositions for XLA and for ternary weights."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from orchestai_kernels.arrays import StackedMatrix, TernaryArray, is_ternary
from orchestai_kernels.feed_forward.activations import Activation, activate
from orchestai_kernels.precision import product_precision
from orchestai_kernels.rms_norm import rms_normed
from orchestai_kernels.ternary_matmul import ternary_matmul

Ternary = TernaryArray | StackedMatrix


def feed_forward_reference(
    x: Float[Array, "tokens hidden"],
    gate: Float[Array, "gate_rows hidden"] | Ternary,
    up: Float[Array, "features hidden"] | Ternary | None,
    down: Float[Array, "out features"] | Ternary,
    norm: Float[Array, "features"] | None,
    *,
    activation: Activation,
    epsilon: float,
) -> Float[Array, "tokens out"]:
    """(norm · RMS(activation(x gateᵀ) · (x upᵀ))) downᵀ in float32 (float64 for float64), rounded once to x's dtype.

    Without `norm` there is no RMS. Shazeer 2020, equation 6, without biases; norm: Zhang & Sennrich 2019. Where `up` is
    None, gate holds both, gate's rows first. Ternary weights multiply by the reference of `ternary_matmul`.
    """
    wide = jnp.promote_types(x.dtype, jnp.float32)
    if is_ternary(gate):
        return _ternary(x, gate, up, down, norm, activation, epsilon, "reference")
    x_wide, *weights = (None if array is None else jnp.asarray(array, wide) for array in (x, gate, up, down))
    precision = product_precision(wide)
    # t: token, k: hidden, n: feature, m: out
    opened = jnp.einsum("tk,nk->tn", x_wide, weights[0], precision=precision)
    if weights[1] is None:
        opened, raised = jnp.split(opened, 2, axis=1)
    else:
        raised = jnp.einsum("tk,nk->tn", x_wide, weights[1], precision=precision)
    hidden = activate(opened, activation) * raised
    if norm is not None:
        hidden = rms_normed(hidden, norm, epsilon)
    return jnp.einsum("tn,mn->tm", hidden, weights[2], precision=precision).astype(x.dtype)


def feed_forward_xla(
    x: Float[Array, "tokens hidden"],
    gate: Float[Array, "gate_rows hidden"],
    up: Float[Array, "features hidden"] | None,
    down: Float[Array, "out features"],
    norm: Float[Array, "features"] | None,
    *,
    activation: Activation,
    epsilon: float,
) -> Float[Array, "tokens out"]:
    """The same products in x's dtype, summed in float32; XLA fuses what lies between them."""
    opened = product(x, gate)
    opened, raised = jnp.split(opened, 2, axis=1) if up is None else (opened, product(x, up))
    hidden = (activate(opened, activation) * raised).astype(x.dtype)
    return projected(hidden, down, norm, epsilon)


def feed_forward_ternary(
    x: Float[Array, "tokens hidden"],
    gate: Ternary,
    up: Ternary | None,
    down: Ternary,
    norm: Float[Array, "features"] | None,
    *,
    activation: Activation,
    epsilon: float,
) -> Float[Array, "tokens out"]:
    """By whatever implementation `ternary_matmul` chooses."""
    return _ternary(x, gate, up, down, norm, activation, epsilon, "auto")


def _ternary(
    x: Array,
    gate: Any,
    up: Any,
    down: Any,
    norm: Array | None,
    activation: Activation,
    epsilon: float,
    implementation: str,
) -> Array:
    opened = ternary_matmul(x, gate, implementation=implementation)
    if up is not None:
        raised = ternary_matmul(x, up, implementation=implementation)
    else:
        opened, raised = jnp.split(opened, 2, axis=1)
    wide = jnp.promote_types(x.dtype, jnp.float32)
    hidden = (activate(opened.astype(wide), activation) * raised.astype(wide)).astype(x.dtype)
    if norm is not None:
        hidden = rms_normed(hidden, norm, epsilon)
    return ternary_matmul(hidden, down, implementation=implementation)


def product(x: Float[Array, "tokens columns"], weight: Float[Array, "rows columns"]) -> Float[Array, "tokens rows"]:
    """x weightᵀ, in x's dtype with float32 sums, left in float32."""
    axes = (((1,), (1,)), ((), ()))
    wide = jnp.promote_types(x.dtype, jnp.float32)
    return jax.lax.dot_general(
        x, weight.astype(x.dtype), axes, precision=product_precision(x.dtype), preferred_element_type=wide
    )


def projected(
    hidden: Float[Array, "tokens features"],
    down: Float[Array, "out features"],
    norm: Float[Array, "features"] | None,
    epsilon: float,
) -> Float[Array, "tokens out"]:
    """What follows the gate: the norm if any, and the projection down."""
    if norm is not None:
        hidden = rms_normed(hidden, norm, epsilon)
    return product(hidden, down).astype(hidden.dtype)
