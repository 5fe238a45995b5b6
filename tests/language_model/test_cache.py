"""Attention to the cache against float64 NumPy, kept as float and as int8."""

import jax.numpy as jnp
import numpy as np
import pytest

from orchestai_jax.config import LanguageModelConfig
from orchestai_jax.language_model.cache import KeyValueCache, attend_cached, empty_cache, write

CONFIG = LanguageModelConfig(
    vocab_size=17, hidden_size=32, num_layers=1, num_heads=4, num_kv_heads=2, intermediate_size=8
)
START, LENGTH, CAPACITY = (0, 5), 9, 16


def numbers(*shape, seed):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def expected(queries, keys, values):
    """Softmax over a row's own tokens and the newest, in float64; keys and values [batch, time, kv_heads, dim]."""
    mixed = np.zeros(queries.shape)
    for row, start in enumerate(START):
        for head in range(4):
            k, v = (x[row, start:, head // 2].astype(np.float64) for x in (keys, values))
            scores = k @ queries[row, 0, head] / np.sqrt(8)
            weights = np.exp(scores - scores.max())
            mixed[row, 0, head] = weights @ v / weights.sum()
    return mixed


# int8 keeps a value to 1/254 of the largest of its token and head; of float32 only the rounding of sums is left.
@pytest.mark.parametrize(("kind", "tolerance"), [("float", 1e-5), ("int8", 0.02)])
def test_attention_to_the_cache(kind, tolerance):
    queries = numbers(2, 1, 4, 8, seed=0)
    keys, values = numbers(2, LENGTH + 1, 2, 8, seed=1), numbers(2, LENGTH + 1, 2, 8, seed=2)
    keys[0] *= 3  # scales of their own
    values[1] *= 1.5
    empty = empty_cache(CONFIG, jnp.asarray(START, jnp.int32), CAPACITY, kind, jnp.dtype("float32"))
    cache = KeyValueCache(
        (write(write(empty.keys[0], jnp.asarray(keys[:, :6]), 0), jnp.asarray(keys[:, 6:LENGTH]), 6),),
        (write(write(empty.values[0], jnp.asarray(values[:, :6]), 0), jnp.asarray(values[:, 6:LENGTH]), 6),),
        empty.start,
        jnp.int32(LENGTH),
    )
    mixed = attend_cached(*map(jnp.asarray, (queries, keys[:, LENGTH:], values[:, LENGTH:])), cache, 0)
    difference = np.abs(mixed - expected(queries, keys, values)).max()
    assert difference < tolerance
    assert kind == "float" or difference > 1e-5, "it is the rounded cache that is read"
