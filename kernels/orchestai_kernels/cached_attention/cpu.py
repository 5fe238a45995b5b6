"""`cached_attention` by the C++ library, through the XLA FFI: the cache is read and written where it lies."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int32

from orchestai_kernels.arrays import Int8Array
from orchestai_kernels.cached_attention.reference import Result, Stored
from orchestai_kernels.cpu.config import CpuConfig, checked


def cpu(
    queries: Float[Array, "batch heads head_dim"],
    new_key: Float[Array, "batch kv_heads head_dim"],
    new_value: Float[Array, "batch kv_heads head_dim"],
    keys: Stored,
    values: Stored,
    layer: Int32[Array, ""],
    start: Int32[Array, "batch"],
    length: Int32[Array, ""],
    *,
    scale: float,
    config: CpuConfig,
) -> Result:
    """One call; the cache's buffers are its results'. A layer or a length out of range is an error at run time."""
    config = checked(config)
    options: dict[str, Any] = {"scale": np.float32(scale), "instructions": config.instructions}
    now = (queries, new_key, new_value, layer, start, length)
    out = jax.ShapeDtypeStruct(queries.shape, jnp.float32)
    if isinstance(keys, Int8Array) and isinstance(values, Int8Array):
        cache = (keys.values, keys.scale, values.values, values.scale)
        call = jax.ffi.ffi_call(
            "orchestai_cached_attention_int8",
            (out, *map(_like, cache)),
            vmap_method="sequential",
            input_output_aliases={6 + i: 1 + i for i in range(4)},
        )
        mixed, key_values, key_scale, value_values, value_scale = call(*now, *cache, **options)
        return mixed, Int8Array(key_values, key_scale), Int8Array(value_values, value_scale)
    call = jax.ffi.ffi_call(
        "orchestai_cached_attention",
        (out, _like(keys), _like(values)),
        vmap_method="sequential",
        input_output_aliases={6: 1, 7: 2},
    )
    mixed, keys, values = call(*now, keys, values, **options)
    return mixed, keys, values


def _like(array: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(array.shape, array.dtype)


def accepts(queries: Any, new_key: Any, new_value: Any, keys: Any, *rest: Any, **options: Any) -> None:
    """Raises NotImplementedError for other types than float32."""
    stored = jnp.float32 if isinstance(keys, Int8Array) else keys.dtype
    if queries.dtype != jnp.float32 or stored != jnp.float32:
        raise NotImplementedError(f"wants float32 queries and a float32 or int8 cache, got {queries.dtype}, {stored}")
