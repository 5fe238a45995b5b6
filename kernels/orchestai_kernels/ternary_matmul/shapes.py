"""Named shapes of `ternary_matmul`: the feed-forward matrices of two published sizes, decoding and prefill."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from orchestai_kernels.arrays import TernaryArray
from orchestai_kernels.arrays.ternary import packed_shape
from orchestai_kernels.shapes import NamedShape, TransformerSize

MATRICES: dict[str, tuple[int, int]] = {
    "large_up": (4096, 1536),
    "large_down": (1536, 4096),
    "2b_down": (2560, 6912),
    "2b_up": (6912, 2560),
}
"""(rows, columns) of BitNet-b1.58-large's (0.7 B) and BitNet-b1.58-2B-4T's feed-forward matrices."""


def packed_struct(rows: int, columns: int, batch: tuple[int, ...] = ()) -> TernaryArray:
    """Shapes and types of packed weights with one scale a matrix, without their numbers."""
    codes: Any = jax.ShapeDtypeStruct((*batch, *packed_shape(rows, columns)), jnp.uint8)
    scale: Any = jax.ShapeDtypeStruct(batch, jnp.float32)
    return TernaryArray(codes, scale, (rows, columns))


def _call(tokens: int, rows: int, columns: int, dtype: Any) -> tuple[Any, ...]:
    return jax.ShapeDtypeStruct((tokens, columns), dtype), packed_struct(rows, columns)


SHAPES: dict[str, NamedShape] = {
    f"{name}_{tokens}{suffix}": NamedShape(_call(tokens, *matrix, dtype), platforms=platforms)
    for suffix, dtype, platforms in (("", jnp.float32, ("cpu",)), ("_bf16", jnp.bfloat16, ("gpu", "tpu")))
    for name, matrix in MATRICES.items()
    for tokens in (1, 128)
}
"""By name: each matrix with one token (decoding) and with 128 (a prompt)."""


def for_transformer(size: TransformerSize) -> dict[str, NamedShape]:
    """The merged projections of a ternary model, with one token and with a prompt's; none for a float one."""
    if not size.ternary:
        return {}
    heads = (size.heads + 2 * size.kv_heads) * size.head_dim
    matrices = {
        "qkv": (heads, size.hidden),
        "out": (size.hidden, size.heads * size.head_dim),
        "gate_up": (2 * size.feed_forward, size.hidden),
        "down": (size.hidden, size.feed_forward),
    }
    return {
        f"{name}_{tokens}": NamedShape(_call(tokens, *matrix, jnp.dtype(size.dtype)))
        for name, matrix in matrices.items()
        for tokens in (1, *size.prompt_lengths)
    }
