"""Named shapes of graph attention: planning graphs of a few tasks, and larger dense graphs."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from orchestai_kernels.graph_attention.config import Aggregation
from orchestai_kernels.shapes import NamedShape


def _call(
    batch: int, n: int, heads: int, dim: int, dtype: Any, aggregation: Aggregation
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    scores = jax.ShapeDtypeStruct((batch, n, heads), dtype) if aggregation == "softmax" else None
    nodes, edges = jax.ShapeDtypeStruct((batch, n, heads, dim), dtype), jax.ShapeDtypeStruct((batch, n, n), jnp.float32)
    options = {"aggregation": aggregation, "self_loops": True, "negative_slope": 0.2}
    return (nodes, edges, scores, scores, jax.ShapeDtypeStruct((batch, n), jnp.bool_)), options


SHAPES = {
    "plans_16": NamedShape(*_call(32, 16, 4, 32, jnp.float32, "softmax"), gradient=True),
    "graphs_128": NamedShape(*_call(32, 128, 4, 32, jnp.float32, "softmax"), gradient=True),
    "graphs_512": NamedShape(*_call(16, 512, 8, 64, jnp.bfloat16, "softmax"), gradient=True, platforms=("gpu", "tpu")),
    "graphs_2k": NamedShape(*_call(2, 2048, 8, 64, jnp.bfloat16, "softmax"), gradient=True, platforms=("gpu",)),
    "mean_512": NamedShape(*_call(16, 512, 8, 64, jnp.bfloat16, "mean"), gradient=True, platforms=("gpu", "tpu")),
}
"""By name."""
