"""An embedding whose rows are int8 with one scale each."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int
from orchestai_kernels.arrays import Int8Array

from orchestai_jax.nn.straight_through import fake_quantize_weights


class Int8Embedding(nnx.Module):
    """Row i of a table, as int8 with one scale a row reads.

    The table is float, rounded where it is looked up with straight-through gradients, or an `Int8Array`: both give the
    same vectors.
    """

    def __init__(self, rows: int, size: int, *, initializer_range: float = 0.02, rngs: nnx.Rngs):
        table = jax.random.normal(rngs.params(), (rows, size), jnp.float32) * initializer_range
        self.embedding = nnx.Param(table)

    def __call__(self, ids: Int[Array, "*batch"]) -> Float[Array, "*batch size"]:
        """Look rows up."""
        table: Any = self.embedding.get_value()
        if isinstance(table, Int8Array):
            return jnp.take(table.values, ids, axis=0).astype(jnp.float32) * jnp.take(table.scale, ids)[..., None]
        return fake_quantize_weights(jnp.take(table, ids, axis=0), "int8")
