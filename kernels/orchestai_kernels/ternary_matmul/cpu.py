"""`ternary_matmul` by the C++ library, through the XLA FFI."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from orchestai_kernels.arrays import StackedMatrix, TernaryArray, in_stack
from orchestai_kernels.cpu.config import CpuConfig, checked


def cpu(
    x: Float[Array, "tokens columns"], weight: TernaryArray | StackedMatrix, *, config: CpuConfig
) -> Float[Array, "tokens rows"]:
    """Everything in one call: quantise, multiply, scale. A matrix of a stack is read where it lies.

    Under vmap, a weight that is not mapped is multiplied once with all the tokens; a mapped one is read where it lies.
    """
    config = checked(config)
    call = jax.ffi.ffi_call(
        "orchestai_ternary_matmul",
        jax.ShapeDtypeStruct((x.shape[0], weight.matrix_shape[0]), jnp.float32),
        vmap_method="expand_dims",
    )
    stacked = in_stack(weight)
    stack: Any = stacked.stack
    y = call(x.astype(jnp.float32), stack.codes, stack.scale, stacked.index, instructions=config.instructions)
    return y.astype(x.dtype)
