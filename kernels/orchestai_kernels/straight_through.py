"""The gradient of products with quantised weights: to the activations, as if they had not been rounded."""

from __future__ import annotations

import functools
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int8

from orchestai_kernels.dispatch import Op
from orchestai_kernels.precision import product_precision


@runtime_checkable
class QuantizedWeight(Protocol):
    """A matrix of integers with a scale a row, as a pytree."""

    def integers(self) -> Int8[Array, "rows columns"]:
        """The integers without the scale."""
        ...

    def row_scale(self) -> Float32[Array, "rows"]:
        """The scale of each row."""
        ...


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def straight_through(
    op: Op, implementation: str, config: Any, x: Float[Array, "tokens columns"], weight: Any
) -> Float[Array, "tokens rows"]:
    """Run the op; backward: dx = (dy · scale) integers. The `QuantizedWeight` is a constant: it gets no gradient."""
    return op(x, weight, implementation=implementation, config=config)


def _forward(op: Op, implementation: str, config: Any, x: Array, weight: Any) -> tuple[Array, QuantizedWeight]:
    return op(x, weight, implementation=implementation, config=config), weight


def _backward(op: Op, implementation: str, config: Any, weight: QuantizedWeight, dy: Array) -> tuple[Array, Any]:
    integers = weight.integers().astype(dy.dtype)  # up to 127: exact in bfloat16 too
    scaled = (dy.astype(jnp.float32) * weight.row_scale()).astype(dy.dtype)
    # t: token, n: row, k: column
    precision = product_precision(dy.dtype)
    dx = jnp.einsum("tn,nk->tk", scaled, integers, precision=precision, preferred_element_type=jnp.float32)
    return dx.astype(dy.dtype), jax.tree.map(_no_gradient, weight)


def _no_gradient(leaf: Array | np.ndarray) -> Array | np.ndarray:
    if jnp.issubdtype(leaf.dtype, jnp.floating):
        return jnp.zeros_like(leaf)
    return np.zeros(leaf.shape, jax.dtypes.float0)


straight_through.defvjp(_forward, _backward)
