"""Named shapes of `cached_attention`: one row of two published sizes, with caches of float and int8."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from orchestai_kernels.arrays import Int8Array
from orchestai_kernels.shapes import NamedShape, TransformerSize


def _call(heads: int, kv_heads: int, head_dim: int, capacity: int, dtype: Any, *, int8: bool = False) -> NamedShape:
    shape = (2, 1, kv_heads, capacity, head_dim)  # two layers: enough to read one that is not the first
    cache: Any = jax.ShapeDtypeStruct(shape, dtype)
    if int8:
        values: Any = jax.ShapeDtypeStruct(shape, jnp.int8)
        scale: Any = jax.ShapeDtypeStruct(shape[:-1], jnp.float32)
        cache = Int8Array(values, scale)
    new = jax.ShapeDtypeStruct((1, kv_heads, head_dim), dtype)
    number, numbers = jax.ShapeDtypeStruct((), jnp.int32), jax.ShapeDtypeStruct((1,), jnp.int32)
    queries = jax.ShapeDtypeStruct((1, heads, head_dim), dtype)
    options = {"scale": head_dim**-0.5}
    return NamedShape((queries, new, new, cache, cache, number, numbers, number), options)


SHAPES: dict[str, NamedShape] = {
    **{f"large_{capacity}": _call(16, 16, 96, capacity, jnp.float32) for capacity in (128, 2048)},
    "large_2048_int8": _call(16, 16, 96, 2048, jnp.float32, int8=True),
    "2b_4096_bf16": _call(20, 5, 128, 4096, jnp.bfloat16),
}
"""By name."""


def for_transformer(size: TransformerSize) -> dict[str, NamedShape]:
    """A model's decoding, with its longest cache."""
    sizes = (size.heads, size.kv_heads, size.head_dim, size.positions)
    return {f"decode_{size.positions}": _call(*sizes, jnp.dtype(size.dtype))}
