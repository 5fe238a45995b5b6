"""Named shapes of the feed-forward layer: the 0.7 B and 2B-4T shapes, decoding, prefill and training."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from orchestai_kernels.arrays import TernaryArray
from orchestai_kernels.arrays.ternary import packed_shape
from orchestai_kernels.shapes import NamedShape, TransformerSize


def _call(
    tokens: int, hidden: int, features: int, dtype: Any, activation: str, *, norm: bool, ternary: bool = False
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    def weight(rows: int, columns: int) -> Any:
        if not ternary:
            return jax.ShapeDtypeStruct((rows, columns), dtype)
        codes: Any = jax.ShapeDtypeStruct(packed_shape(rows, columns), jnp.uint8)
        scale: Any = jax.ShapeDtypeStruct((), jnp.float32)
        return TernaryArray(codes, scale, (rows, columns))

    gate, up = (weight(2 * features, hidden), None) if ternary else (weight(features, hidden), weight(features, hidden))
    weights = (gate, up, weight(hidden, features), jax.ShapeDtypeStruct((features,), jnp.float32) if norm else None)
    options = {"activation": activation, "epsilon": 1e-5}
    return (jax.ShapeDtypeStruct((tokens, hidden), dtype), *weights), options


_CPU, _ACCELERATOR = ("cpu",), ("gpu", "tpu")

SHAPES = {
    "large_decode": NamedShape(*_call(1, 1536, 4096, jnp.float32, "relu2", norm=True), platforms=_CPU),
    "large_prefill": NamedShape(*_call(128, 1536, 4096, jnp.float32, "relu2", norm=True), platforms=_CPU),
    "large_decode_ternary": NamedShape(*_call(1, 1536, 4096, jnp.float32, "relu2", norm=True, ternary=True)),
    "2b_decode": NamedShape(*_call(1, 2560, 6912, jnp.bfloat16, "relu2", norm=True), platforms=_ACCELERATOR),
    "2b_train": NamedShape(
        *_call(8192, 2560, 6912, jnp.bfloat16, "relu2", norm=True), gradient=True, platforms=_ACCELERATOR
    ),
    "silu_train": NamedShape(
        *_call(8192, 4096, 11008, jnp.bfloat16, "silu", norm=False), gradient=True, platforms=_ACCELERATOR
    ),
}
"""By name."""


def for_transformer(size: TransformerSize) -> dict[str, NamedShape]:
    """One token and prompts; of a float model a training step too (a ternary one rounds in between)."""
    dtype = jnp.dtype(size.dtype)

    def call(tokens: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        options = {"activation": size.activation, "norm": size.sub_norms}
        (x, gate, up, down, norm), options = _call(
            tokens, size.hidden, size.feed_forward, jnp.float32, ternary=size.ternary, **options
        )
        if not size.ternary:  # gate and up are one matrix
            gate, up = jax.ShapeDtypeStruct((2 * size.feed_forward, size.hidden), jnp.float32), None
        return (jax.ShapeDtypeStruct(x.shape, dtype), gate, up, down, norm), options

    shapes = {f"{tokens}_tokens": NamedShape(*call(tokens)) for tokens in (1, *size.prompt_lengths)}
    if size.training is not None and not size.ternary:
        shapes["train"] = NamedShape(*call(size.training[0] * size.training[1]), gradient=True)
    return shapes
