"""The fused gate with a backward of its own: what the kernels of every platform have in common.

One kernel makes activation(x gateᵀ) · (x upᵀ) without writing either product; the backward makes the products again and
from them the gradients towards both, whose products with x, gate and up XLA computes. Of activations only x is kept.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from orchestai_kernels.arrays import is_ternary
from orchestai_kernels.feed_forward.activations import Activation, activate, derivative
from orchestai_kernels.feed_forward.reference import projected
from orchestai_kernels.precision import product_precision


@dataclasses.dataclass(frozen=True)
class Static:
    """What a kernel is specialised for."""

    activation: Activation
    """Of the gate."""
    tiles: Any
    """The platform's configuration."""
    interpret: bool
    """Whether to run interpreted."""


GatedKernel = Callable[..., tuple[Array, ...]]
"""(x, gate, up, static, dhidden or None) → (hidden,), or the gradients towards (x gateᵀ, x upᵀ) for a given dhidden."""


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _gated(kernel: GatedKernel, static: Static, x: Array, gate: Array, up: Array) -> Array:
    return kernel(x, gate, up, static, None)[0]


def _gated_forward(kernel: GatedKernel, static: Static, x: Array, gate: Array, up: Array) -> tuple[Array, Any]:
    return kernel(x, gate, up, static, None)[0], (x, gate, up)


def _gated_backward(kernel: GatedKernel, static: Static, kept: Any, dhidden: Array) -> tuple[Array, Array, Array]:
    x, gate, up = kept
    dopened, draised = kernel(x, gate, up, static, dhidden.astype(x.dtype))

    def times(a: Array, b: Array, contract: tuple[int, int]) -> Array:
        axes = (((contract[0],), (contract[1],)), ((), ()))
        precision = product_precision(a.dtype)
        return jax.lax.dot_general(a, b, axes, precision=precision, preferred_element_type=jnp.float32)

    dx = times(dopened, gate, (1, 0)) + times(draised, up, (1, 0))
    return (
        dx.astype(x.dtype),
        times(dopened, x, (0, 0)).astype(gate.dtype),
        times(draised, x, (0, 0)).astype(up.dtype),
    )


_gated.defvjp(_gated_forward, _gated_backward)


def fused_feed_forward(
    kernel: GatedKernel,
    x: Float[Array, "tokens hidden"],
    gate: Float[Array, "gate_rows hidden"],
    up: Float[Array, "features hidden"] | None,
    down: Float[Array, "out features"],
    norm: Float[Array, "features"] | None,
    *,
    epsilon: float,
    static: Static,
) -> Float[Array, "tokens out"]:
    """The layer by a platform's kernel."""
    gate, up = jnp.split(gate, 2, axis=0) if up is None else (gate, up)
    hidden: Array = _gated(kernel, static, x, gate.astype(x.dtype), up.astype(x.dtype))
    return projected(hidden, down, norm, epsilon)


def combine(
    opened: Array, raised: Array, dhidden: Array | None, activation: Activation
) -> tuple[Array] | tuple[Array, Array]:
    """Within a kernel, of float32 tiles: what comes out of it. See `GatedKernel`."""
    if dhidden is None:
        return (activate(opened, activation) * raised,)
    return dhidden * raised * derivative(opened, activation), dhidden * activate(opened, activation)


def fused_accepts(x: Any, gate: Any, up: Any, down: Any, norm: Any, **options: Any) -> None:
    """Raises NotImplementedError for what the fused kernels do not take."""
    if is_ternary(gate):
        raise NotImplementedError("wants float weights, got ternary ones")
    if 0 in (*x.shape, *gate.shape):
        raise NotImplementedError(f"wants no empty axis, got x {tuple(x.shape)} and gate {tuple(gate.shape)}")
    if x.dtype not in (jnp.float32, jnp.bfloat16, jnp.float16):
        raise NotImplementedError(f"wants float32, bfloat16 or float16, got {x.dtype}")
