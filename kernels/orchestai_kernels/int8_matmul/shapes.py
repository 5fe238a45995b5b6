"""Named shapes of `int8_matmul`: vocabulary heads of two published sizes, one token and sixteen."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from orchestai_kernels.arrays import Int8Array
from orchestai_kernels.shapes import NamedShape

HEADS: dict[str, tuple[int, int]] = {"large_head": (32000, 1536), "2b_head": (128256, 2560)}
"""(vocabulary, width) of BitNet-b1.58-large (0.7 B) and BitNet-b1.58-2B-4T."""


def _call(tokens: int, rows: int, columns: int, dtype: Any) -> tuple[Any, ...]:
    values: Any = jax.ShapeDtypeStruct((rows, columns), jnp.int8)
    scale: Any = jax.ShapeDtypeStruct((rows,), jnp.float32)
    return jax.ShapeDtypeStruct((tokens, columns), dtype), Int8Array(values, scale)


SHAPES: dict[str, NamedShape] = {
    **{
        f"large_head_{tokens}": NamedShape(_call(tokens, *HEADS["large_head"], jnp.float32), platforms=("cpu",))
        for tokens in (1, 16)
    },
    **{
        f"2b_head_{tokens}": NamedShape(_call(tokens, *HEADS["2b_head"], jnp.bfloat16), platforms=("gpu", "tpu"))
        for tokens in (1, 16)
    },
}
"""By name."""
