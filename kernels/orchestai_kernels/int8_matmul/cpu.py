"""`int8_matmul` by the C++ library, through the XLA FFI."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from orchestai_kernels.arrays import Int8Array, StackedMatrix, in_stack
from orchestai_kernels.cpu.config import CpuConfig, checked


def cpu(
    x: Float[Array, "tokens columns"], weight: Int8Array | StackedMatrix, *, config: CpuConfig
) -> Float[Array, "tokens rows"]:
    """Everything in one call: quantise, multiply, scale. Under vmap as `ternary_matmul`'s."""
    config = checked(config)
    call = jax.ffi.ffi_call(
        "orchestai_int8_matmul",
        jax.ShapeDtypeStruct((x.shape[0], weight.shape[0]), jnp.float32),
        vmap_method="expand_dims",
    )
    stacked = in_stack(weight)
    stack: Any = stacked.stack
    y = call(x.astype(jnp.float32), stack.values, stack.scale, stacked.index, instructions=config.instructions)
    return y.astype(x.dtype)
