"""An embedding whose rows are int8 with one scale each."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int
from orchestai_kernels.arrays import Int8Array

from orchestai_jax.nn.straight_through import fake_quantize_weights


def pack_table(table: Float[Array | np.ndarray, "rows size"]) -> Int8Array:
    """`quantize_int8`, in NumPy, so that opening a model compiles nothing."""
    table = np.asarray(table, np.float32)
    scale = np.max(np.abs(table), axis=-1, initial=0.0) / np.float32(127)
    steps = table / np.where(scale > 0, scale, 1)[:, None]
    return Int8Array(jnp.asarray(np.clip(np.rint(steps), -127, 127).astype(np.int8)), jnp.asarray(scale))


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
