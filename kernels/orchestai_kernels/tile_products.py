"""Products of tiles within Pallas kernels, in float32. Tiles of float32 are multiplied in full, not rounded before."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.experimental.pallas import triton as plgpu
from jaxtyping import Array, Float

from orchestai_kernels.precision import product_precision


def triton_product(a: Float[Array, "m k"], b: Float[Array, "_ _"], *, turned: bool = False) -> Float[Array, "m n"]:
    """a b, or a bᵀ if `turned`, of a kernel that Triton compiles. Tiles are powers of two of at least 16."""
    return plgpu.dot(a, b, trans_b=turned, precision=product_precision(a.dtype))


def mosaic_product(a: Float[Array, "_ _"], b: Float[Array, "_ _"], contract: tuple[int, int]) -> Float[Array, "m n"]:
    """The sum over an axis of each, of a kernel that Mosaic compiles for TPUs."""
    axes = (((contract[0],), (contract[1],)), ((), ()))
    return jax.lax.dot_general(a, b, axes, precision=product_precision(a.dtype), preferred_element_type=jnp.float32)
