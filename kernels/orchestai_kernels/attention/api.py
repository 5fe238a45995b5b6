"""The `attention` op: its arguments checked, and its implementations in the heuristic's order."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from orchestai_kernels import precision
from orchestai_kernels.arrays import Int8Array
from orchestai_kernels.attention import config as tiles
from orchestai_kernels.attention import library, reference, vjp
from orchestai_kernels.attention.masks import Masks
from orchestai_kernels.deferred import deferred
from orchestai_kernels.dispatch import ConfigSpace, Implementation, Op, bucket
from orchestai_kernels.floating import expect_floating


def attention(
    q: Float[Array, "batch queries heads head_dim"],
    k: Float[Array, "batch keys kv_heads head_dim"] | Int8Array,
    v: Float[Array, "batch keys kv_heads value_dim"] | Int8Array,
    *,
    mask: Bool[Array, "#batch #heads #queries #keys"] | None = None,
    segment_ids: Int[Array, "batch length"]
    | tuple[Int[Array, "batch queries"], Int[Array, "batch keys"]]
    | None = None,
    lengths: Int[Array, "batch"] | None = None,
    causal: bool = False,
    query_start: Int[Array, "batch"] | int | None = None,
    scale: float | None = None,
    implementation: str = "auto",
    config: Any = None,
) -> Float[Array, "batch queries heads value_dim"]:
    """softmax(scale · q kᵀ) v over the keys that a query may see; zeros for a query that may see none.

    Query head h reads key head h // (heads / kv_heads). A key is visible where every one given of these allows it:
    `mask`, True where visible, [batch, heads, queries, keys] with a 1 for each axis along which nothing differs (all
    four axes are given: a mask [queries, keys] is `mask[None, None]`); `segment_ids`, equal for query and key (one
    array where queries and keys are the same tokens); `lengths`, the number of keys from the first that hold something;
    `causal`, keys up to position `query_start` + i for query i (`query_start` is 0 unless given).

    Decoding with a cache of padded keys: `lengths` counts the tokens with the new ones, `causal=True`,
    `query_start=lengths - queries`. A cache of int8 is an `Int8Array` with values [batch, keys, kv_heads, head_dim] and
    a scale for each (token, head); no gradient flows to it.

    `scale` is head_dim^-½ unless given. Scores and their softmax are float32 (float64 in the reference for float64);
    the result has q's dtype. A NaN or an infinity among visible numbers reaches the result; in hidden ones it may or
    may not.

    Raises ValueError for shapes that do not fit, naming both; NotImplementedError where the named implementation cannot
    run the call.
    """
    segments = segment_ids if isinstance(segment_ids, tuple) else (segment_ids, segment_ids)
    if len(segments) != 2 or (segments[0] is None) != (segments[1] is None):
        raise ValueError("segment_ids must be those of the queries and of the keys, or one array for both")
    masks = Masks(mask, *segments, lengths, causal=causal)
    _check(q, k, v, masks, query_start)
    if query_start is not None:
        start = jnp.broadcast_to(jnp.asarray(query_start, jnp.int32), (q.shape[0],))
        masks = dataclasses.replace(masks, query_start=start)
    return ATTENTION(
        q,
        k,
        v,
        masks,
        scale=1 / math.sqrt(max(q.shape[-1], 1)) if scale is None else float(scale),
        implementation=implementation,
        config=config,
    )


def _check(q: Array, k: Array | Int8Array, v: Array | Int8Array, masks: Masks, query_start: Any) -> None:
    for name, x in (("q", q), ("k", k), ("v", v)):
        if len(x.shape) != 4:
            raise ValueError(f"{name} must be [batch, length, heads, dim], got shape {tuple(x.shape)}")
    expect_floating(q=q)
    batch, queries, heads, head_dim = q.shape
    _, keys, kv_heads, _ = k.shape
    if k.shape[0] != batch or k.shape[3] != head_dim:
        raise ValueError(f"k must have q's batch and head_dim, got q {tuple(q.shape)} and k {tuple(k.shape)}")
    if tuple(v.shape[:3]) != tuple(k.shape[:3]):
        raise ValueError(f"v must have k's batch, keys and heads, got k {tuple(k.shape)} and v {tuple(v.shape)}")
    if heads != 0 and (kv_heads == 0 or heads % kv_heads):
        raise ValueError(f"k's heads must divide q's: {kv_heads} does not divide {heads}")
    if isinstance(k, Int8Array) != isinstance(v, Int8Array):
        raise ValueError("k and v must both be Int8Array or both be float")
    for name, x in (("k", k), ("v", v)):
        if isinstance(x, Int8Array):
            if x.block is not None:
                raise ValueError(f"{name} must have one scale a (token, head), got blocks of {x.block}")
        elif x.dtype != q.dtype:
            raise ValueError(f"{name} must have q's dtype, got {x.dtype} and {q.dtype}")
    mask = masks.mask
    if mask is not None:
        wanted = (batch, heads, queries, keys)
        if mask.dtype != jnp.bool_:
            raise ValueError(f"mask must be boolean, True where visible, got {mask.dtype}")
        if mask.ndim != 4 or any(size not in (1, full) for size, full in zip(mask.shape, wanted, strict=True)):
            raise ValueError(
                f"mask must be [batch, heads, queries, keys] {wanted}, or 1 along an axis, got {tuple(mask.shape)}"
            )
    for name, segments, length in (("queries", masks.query_segments, queries), ("keys", masks.key_segments, keys)):
        if segments is not None and tuple(segments.shape) != (batch, length):
            raise ValueError(f"segment_ids of the {name} must be {(batch, length)}, got {tuple(segments.shape)}")
    if masks.lengths is not None and tuple(masks.lengths.shape) != (batch,):
        raise ValueError(f"lengths must be {(batch,)}, got {tuple(masks.lengths.shape)}")
    if query_start is not None:
        if not masks.causal:
            raise ValueError("query_start has a meaning with causal=True only")
        if np.shape(query_start) not in ((), (batch,)):
            raise ValueError(f"query_start must be a number or {(batch,)}, got {np.shape(query_start)}")
    numbers = {"segment_ids of the queries": masks.query_segments, "segment_ids of the keys": masks.key_segments}
    for name, given in {**numbers, "lengths": masks.lengths, "query_start": query_start}.items():
        if given is not None and not jnp.issubdtype(jnp.result_type(given), jnp.integer):
            raise ValueError(f"{name} must be integers, got {jnp.result_type(given)}")


def _key(q: Any, k: Any, v: Any, masks: Masks, *, scale: float) -> str:
    batch, queries, heads, head_dim = q.shape
    kept = "int8" if isinstance(k, Int8Array) else jnp.dtype(q.dtype).name
    parts = {
        "mask": masks.mask,
        "segments": masks.query_segments,
        "lengths": masks.lengths,
        "start": masks.query_start,
    }
    options = [name for name, part in parts.items() if part is not None]
    return " ".join(
        [
            f"batch{bucket(batch)} queries{bucket(queries)} keys{bucket(k.shape[1])}",
            f"heads{heads}/{k.shape[2]} dim{head_dim}/{v.shape[3]} {jnp.dtype(q.dtype).name} cache-{kept}",
            *(["causal"] if masks.causal else []),
            *options,
        ]
    )


def _fill(rng: np.random.Generator, q: Any, k: Any, v: Any, masks: Masks, *, scale: float) -> Any:
    """Numbers for the masks' shapes that hide nothing but what order hides: the most work."""
    batch, keys = k.shape[0], k.shape[1]

    def full(shape: Any, value: Any) -> Any:
        return jnp.full(shape.shape, value, shape.dtype) if isinstance(shape, jax.ShapeDtypeStruct) else shape

    start = max(0, keys - q.shape[1])
    filled = Masks(
        full(masks.mask, True),
        full(masks.query_segments, 1),
        full(masks.key_segments, 1),
        full(masks.lengths, keys),
        full(masks.query_start, start),
        masks.causal,
    )

    def cache(x: Any) -> Any:
        if not isinstance(x, Int8Array) or not isinstance(x.values, jax.ShapeDtypeStruct):
            return x
        values = jnp.asarray(rng.integers(-127, 128, x.values.shape, np.int8))
        return Int8Array(values, jnp.full(x.scale.shape, 0.01, jnp.float32))

    assert batch == q.shape[0]
    return (q, cache(k), cache(v), filled), {"scale": scale}


def _prefer(target: str, q: Any, k: Any, v: Any, masks: Masks, *, scale: float) -> Sequence[str]:
    kernels = ("cudnn", "pallas_gpu", "pallas_tpu")
    if (
        q.shape[1] * q.shape[2] <= tiles.FEW_ROWS * k.shape[2]
    ):  # decoding: only the kernel of this package splits the keys
        kernels = ("pallas_gpu", "cudnn", "pallas_tpu")
    return (*kernels, "reference", "xla") if target == "cpu" else (*kernels, "xla", "reference")


_FOLDER = reference.__file__.removesuffix("reference.py")
_SHARED = (precision.__file__, reference.__file__, _FOLDER + "masks.py")
_ROOT = precision.__file__.removesuffix("precision.py")
_FLASH = (vjp.__file__, _ROOT + "online_softmax.py", _ROOT + "tile_products.py", *_SHARED)

ATTENTION = Op(
    "attention",
    key=_key,
    fill=_fill,
    prefer=_prefer,
    implementations=[
        Implementation(
            "pallas_gpu",
            run=deferred("orchestai_kernels.attention.pallas_gpu", "attention_pallas_gpu"),
            platforms=("gpu",),
            accepts=vjp.flash_accepts,
            configs=ConfigSpace(tiles.GpuTiles, tiles.gpu_heuristic, tiles.gpu_candidates),
            interpretable=True,
            sources=(_FOLDER + "pallas_gpu.py", _FOLDER + "gpu_blocks.py", _ROOT + "head_blocks.py", *_FLASH),
        ),
        Implementation(
            "pallas_tpu",
            run=deferred("orchestai_kernels.attention.pallas_tpu", "attention_pallas_tpu"),
            platforms=("tpu",),
            accepts=vjp.flash_accepts,
            configs=ConfigSpace(tiles.TpuTiles, tiles.tpu_heuristic, tiles.tpu_candidates),
            interpretable=True,
            sources=(_FOLDER + "pallas_tpu.py", _FOLDER + "tpu_blocks.py", *_FLASH),
        ),
        Implementation(
            "cudnn",
            run=library.attention_cudnn,
            platforms=("gpu",),
            accepts=library.cudnn_accepts,
            sources=(library.__file__, *_SHARED),
        ),
        Implementation(
            "xla",
            run=library.attention_xla,
            accepts=library.xla_accepts,
            sources=(library.__file__, *_SHARED),
        ),
        Implementation(
            "reference",
            run=reference.attention_reference,
            sources=_SHARED,
        ),
    ],
)
"""The op behind `attention`; its arguments are (q, k, v, masks, scale=)."""
