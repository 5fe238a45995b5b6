"""Named shapes of attention: training, prefill and decoding of small and large transformers."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from orchestai_kernels.arrays import Int8Array
from orchestai_kernels.attention.masks import Masks
from orchestai_kernels.shapes import NamedShape, TransformerSize


def _call(
    batch: int, queries: int, keys: int, heads: tuple[int, int], dim: int, dtype: Any, masks: Masks, int8: bool = False
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    q = jax.ShapeDtypeStruct((batch, queries, heads[0], dim), dtype)
    kept: Any = jax.ShapeDtypeStruct((batch, keys, heads[1], dim), dtype)
    if int8:
        values = jax.ShapeDtypeStruct((batch, keys, heads[1], dim), jnp.int8)
        kept = Int8Array(
            values,  # pyright: ignore[reportArgumentType]
            jax.ShapeDtypeStruct((batch, keys, heads[1]), jnp.float32),  # pyright: ignore[reportArgumentType]
        )
    return (q, kept, kept, masks), {"scale": dim**-0.5}


def _decoding(batch: int) -> Masks:
    number: Any = jax.ShapeDtypeStruct((batch,), jnp.int32)
    return Masks(lengths=number, query_start=number, causal=True)


_CAUSAL = Masks(causal=True)
_CPU, _ACCELERATOR = ("cpu",), ("gpu", "tpu")

SHAPES = {
    "char_lm_train": NamedShape(
        *_call(12, 64, 64, (4, 4), 32, jnp.float32, _CAUSAL), gradient=True, platforms=("cpu", "gpu", "tpu")
    ),
    "prefill_128": NamedShape(*_call(1, 128, 128, (16, 16), 96, jnp.float32, _CAUSAL), platforms=_CPU),
    "prefill_1k": NamedShape(*_call(1, 1024, 1024, (16, 16), 96, jnp.float32, _CAUSAL), platforms=_CPU),
    "decode_256": NamedShape(*_call(1, 1, 256, (16, 16), 96, jnp.float32, _decoding(1)), platforms=_CPU),
    "decode_1k": NamedShape(*_call(1, 1, 1024, (16, 16), 96, jnp.float32, _decoding(1)), platforms=_CPU),
    "decode_1k_int8": NamedShape(*_call(1, 1, 1024, (16, 16), 96, jnp.float32, _decoding(1), True), platforms=_CPU),
    "encoder_8x64": NamedShape(
        *_call(8, 64, 64, (12, 12), 32, jnp.float32, Masks(lengths=_decoding(8).lengths)), platforms=_CPU
    ),
    **{
        f"train_{keys // 1024}k": NamedShape(
            *_call(16384 // keys, keys, keys, (16, 16), 128, jnp.bfloat16, _CAUSAL),
            gradient=True,
            platforms=_ACCELERATOR,
        )
        for keys in (2048, 4096, 8192, 16384)
    },
    "prefill_2b_4k": NamedShape(*_call(1, 4096, 4096, (20, 5), 128, jnp.bfloat16, _CAUSAL), platforms=_ACCELERATOR),
    "decode_2b_4k": NamedShape(*_call(1, 1, 4096, (20, 5), 128, jnp.bfloat16, _decoding(1)), platforms=_ACCELERATOR),
    "decode_2b_4k_int8": NamedShape(
        *_call(8, 1, 4096, (20, 5), 128, jnp.bfloat16, _decoding(8), True), platforms=_ACCELERATOR
    ),
}
"""By name. The CPU's are of the 0.7 B shape, a character model and an encoder; the accelerators' of training and of the
2B-4T shape."""


def for_transformer(size: TransformerSize) -> dict[str, NamedShape]:
    """A training step and prompts, padded on the left. (Decoding attends to the cache without this op.)"""
    heads, dtype = (size.heads, size.kv_heads), jnp.dtype(size.dtype)
    shapes: dict[str, NamedShape] = {}
    if size.training is not None:
        batch, tokens = size.training
        shapes["train"] = NamedShape(*_call(batch, tokens, tokens, heads, size.head_dim, dtype, _CAUSAL), gradient=True)
    for n in size.prompt_lengths:
        segments: Any = jax.ShapeDtypeStruct((1, n), jnp.int32)
        padded = Masks(query_segments=segments, key_segments=segments, causal=True)
        shapes[f"prefill_{n}"] = NamedShape(*_call(1, n, n, heads, size.head_dim, dtype, padded))
    return shapes
