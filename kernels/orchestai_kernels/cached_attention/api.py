"""`cached_attention`: the public function, and which implementation of it runs."""

from __future__ import annotations

import functools
import math
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from orchestai_kernels.arrays import Int8Array
from orchestai_kernels.cached_attention.cpu import accepts, cpu
from orchestai_kernels.cached_attention.reference import Result, Stored, sliced
from orchestai_kernels.cpu.config import CONFIGS, SOURCES, available
from orchestai_kernels.dispatch import Implementation, Op, bucket
from orchestai_kernels.floating import expect_floating

_HERE = pathlib.Path(__file__).parent
_REFERENCE = (_HERE / "reference.py", *(_HERE.parent / "arrays" / name for name in ("int8.py", "magnitude.py")))


def cached_attention(
    queries: Float[Array, "batch heads head_dim"],
    new_key: Float[Array, "batch kv_heads head_dim"],
    new_value: Float[Array, "batch kv_heads head_dim"],
    keys: Stored,
    values: Stored,
    *,
    layer: Int[Array, ""] | int,
    start: Int[Array, "batch"],
    length: Int[Array, ""] | int,
    scale: float | None = None,
    implementation: str = "auto",
    config: Any = None,
) -> Result:
    """The newest token's attention in one layer: (softmax(scale · q kᵀ) v, keys, values), with the token written.

    Row b sees slots start[b] … length - 1 of the layer, and the newest token, which is written to slot `length` of it;
    0 <= start[b] <= length < capacity. The newest counts as given, in an int8 cache too (it has one scale a token and
    head). Query head h reads key head h // (heads / kv_heads); `scale` is head_dim^-½ unless given. Scores and softmax
    are float32, the result has the queries' dtype. Donated, or carried through a loop, the cache is changed in place.

    Args:
      keys, values: [layers, batch, kv_heads, capacity, head_dim], float or both `Int8Array`.

    A layer or a length that is out of range is told where it is a Python number, and by the `cpu` implementation;
    others write to the last slot that there is.

    Raises ValueError for shapes and types that do not fit, naming both; NotImplementedError where the named
    implementation cannot run the call.
    """
    _check(queries, new_key, new_value, keys, values, start)
    for name, at, end in (("layer", layer, keys.shape[0]), ("length", length, keys.shape[3])):
        if isinstance(at, int) and not 0 <= at < end:
            raise ValueError(f"{name} must be from 0 to {end - 1}, got {at}")
    return CACHED_ATTENTION(
        queries,
        new_key,
        new_value,
        keys,
        values,
        jnp.asarray(layer, jnp.int32),
        jnp.asarray(start, jnp.int32),
        jnp.asarray(length, jnp.int32),
        scale=1 / math.sqrt(queries.shape[-1]) if scale is None else float(scale),
        implementation=implementation,
        config=config,
    )


def _check(queries: Any, new_key: Any, new_value: Any, keys: Any, values: Any, start: Any) -> None:
    if queries.ndim != 3 or new_key.ndim != 3 or len(keys.shape) != 5:
        raise ValueError(
            "queries and the new key must be [batch, heads, head_dim] and keys [layers, batch, kv_heads, capacity, "
            f"head_dim], got {tuple(queries.shape)}, {tuple(new_key.shape)} and {tuple(keys.shape)}"
        )
    batch, heads, head_dim = queries.shape
    kv_heads = new_key.shape[1]
    if tuple(new_key.shape) != (batch, kv_heads, head_dim) or tuple(new_value.shape) != tuple(new_key.shape):
        raise ValueError(
            f"the new key and value must be [{batch}, kv_heads, {head_dim}] as the queries {tuple(queries.shape)} are, "
            f"got {tuple(new_key.shape)} and {tuple(new_value.shape)}"
        )
    if kv_heads == 0 or heads % kv_heads:
        raise ValueError(f"the new key's heads must divide the queries': {kv_heads} does not divide {heads}")
    capacity = keys.shape[3]
    if tuple(keys.shape[1:]) != (batch, kv_heads, capacity, head_dim) or tuple(values.shape) != tuple(keys.shape):
        raise ValueError(
            f"keys and values must be [layers, {batch}, {kv_heads}, capacity, {head_dim}] for a new key "
            f"{tuple(new_key.shape)}, got {tuple(keys.shape)} and {tuple(values.shape)}"
        )
    if isinstance(keys, Int8Array) != isinstance(values, Int8Array):
        raise ValueError("keys and values must both be Int8Array or both be float")
    types = {"new_key": new_key.dtype, "new_value": new_value.dtype}
    if not isinstance(keys, Int8Array):
        types |= {"keys": keys.dtype, "values": values.dtype}
    expect_floating(queries=queries)
    for name, dtype in types.items():
        if dtype != queries.dtype:
            raise ValueError(f"{name} must have the queries' dtype, got {dtype} and {queries.dtype}")
    if tuple(start.shape) != (batch,):
        raise ValueError(f"start must be {(batch,)}, got {tuple(start.shape)}")


def _key(queries: Any, new_key: Any, new_value: Any, keys: Any, *rest: Any, **options: Any) -> str:
    batch, heads, head_dim = queries.shape
    kept = "int8" if isinstance(keys, Int8Array) else jnp.dtype(keys.dtype).name
    sizes = f"batch{bucket(batch)} heads{heads}/{keys.shape[2]} dim{head_dim} capacity{bucket(keys.shape[3])}"
    return f"{sizes} {jnp.dtype(queries.dtype).name} cache-{kept}"


def _fill(rng: np.random.Generator, *args: Any, **options: Any) -> Any:
    """A cache that is full but for the newest token's slot."""
    queries, new_key, new_value, keys, values, layer, start, length = args

    def full(shape: Any, value: int) -> Any:
        return jnp.full(shape.shape, value, shape.dtype) if isinstance(shape, jax.ShapeDtypeStruct) else shape

    def cache(x: Any) -> Any:
        if not isinstance(x, Int8Array) or not isinstance(x.values, jax.ShapeDtypeStruct):
            return x
        return Int8Array(
            jnp.asarray(rng.integers(-127, 128, x.values.shape, np.int8)), jnp.full(x.scale.shape, 0.01, jnp.float32)
        )

    place = (full(layer, 0), full(start, 0), full(length, keys.shape[3] - 1))
    return (queries, new_key, new_value, cache(keys), cache(values), *place), options


CACHED_ATTENTION = Op(
    "cached_attention",
    key=_key,
    fill=_fill,
    in_place={3: 1, 4: 2},
    implementations=[
        Implementation(
            "cpu",
            run=cpu,
            platforms=("cpu",),
            available=available,
            accepts=accepts,
            configs=CONFIGS,
            sources=(_HERE / "cpu.py", *SOURCES),
        ),
        Implementation("sliced", run=sliced, sources=_REFERENCE),
        Implementation("reference", run=functools.partial(sliced, implementation="reference"), sources=_REFERENCE),
    ],
)
"""The op behind `cached_attention`; its arguments are those of `sliced`."""
