"""`ternary_matmul` by the C++ library, through the XLA FFI."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from orchestai_kernels.arrays import TernaryArray
from orchestai_kernels.cpu.config import CpuConfig, checked


def cpu(x: Float[Array, "tokens columns"], weight: TernaryArray, *, config: CpuConfig) -> Float[Array, "tokens rows"]:
    """Everything in one call: quantise, multiply, scale.

    Under vmap, a weight that is not mapped is multiplied once with all the tokens; a mapped one is read where it lies.
    """
    config = checked(config)
    call = jax.ffi.ffi_call(
        "orchestai_ternary_matmul",
        jax.ShapeDtypeStruct((x.shape[0], weight.matrix_shape[0]), jnp.float32),
        vmap_method="expand_dims",
    )
    y = call(x.astype(jnp.float32), weight.codes, weight.scale, instructions=config.instructions)
    return y.astype(x.dtype)
