"""The ternary linear layer and the int8 embedding, against float64 NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from orchestai_kernels.arrays import TernaryArray, pack_ternary, quantize_int8

from orchestai_jax.nn.int8_embedding import Int8Embedding, pack_table
from orchestai_jax.nn.ternary_linear import TernaryLinear, nearest_scale, pack_rows

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(3, 5, 16)).astype(np.float32)
DY = RANDOM.normal(size=(3, 5, 12)).astype(np.float32)


def signs(weight):
    """The definition: a mean a row."""
    return np.clip(np.round(weight / np.abs(weight).mean(-1, keepdims=True)), -1, 1)


def rounded_tokens(x):
    scale = 127 / np.abs(x).max(-1, keepdims=True)
    return np.round(x * scale) / scale


@pytest.fixture
def layer():
    """No scale is the mean, no bias zero, and the rows are of different sizes."""
    layer = TernaryLinear(16, 12, rngs=nnx.Rngs(0))
    layer.weight.set_value(layer.weight[...] * jnp.linspace(0.5, 3, 12)[:, None])
    layer.scale.set_value(jnp.linspace(-1, 2, 12))
    layer.bias.set_value(jnp.linspace(-3, 3, 12))
    return layer


def test_training_and_packed_form_equal_the_definition(layer):
    t = signs(np.asarray(layer.weight[...], np.float64))
    expected = rounded_tokens(X.astype(np.float64)) @ t.T * np.linspace(-1, 2, 12) + np.linspace(-3, 3, 12)
    np.testing.assert_allclose(layer(jnp.asarray(X)), expected, atol=1e-5)
    layer.weight.set_value(pack_rows(layer.weight[...]))
    assert isinstance(layer.weight.get_value(), TernaryArray)
    np.testing.assert_allclose(layer(jnp.asarray(X)), expected, atol=1e-5)


def test_strength_leads_from_the_float_layer_to_the_whole_rounding(layer):
    weight, bias = np.asarray(layer.weight[...], np.float64), np.linspace(-3, 3, 12)
    np.testing.assert_allclose(layer(jnp.asarray(X), strength=0.0), X @ weight.T + bias, atol=1e-5)
    np.testing.assert_allclose(layer(jnp.asarray(X), strength=1.0), layer(jnp.asarray(X)), atol=1e-5)


def test_gradients_go_straight_through(layer):
    graphdef, state = nnx.split(layer, nnx.Param)
    by_state, dx = jax.grad(lambda s, x: jnp.sum(nnx.merge(graphdef, s)(x) * DY), argnums=(0, 1))(state, jnp.asarray(X))
    weight, scale = np.asarray(layer.weight[...], np.float64), np.linspace(-1, 2, 12)
    t, q = signs(weight), rounded_tokens(X.astype(np.float64))
    np.testing.assert_allclose(dx, DY * scale @ t, atol=1e-4)
    products = np.einsum("btn,btk->nk", DY, q)
    means = np.abs(weight).mean(-1)
    np.testing.assert_allclose(by_state["weight"].get_value(), products * (scale / means)[:, None], rtol=1e-4)
    np.testing.assert_allclose(by_state["scale"].get_value(), np.sum(products * t, -1), atol=1e-4)
    np.testing.assert_allclose(by_state["bias"].get_value(), DY.sum((0, 1)), atol=1e-4)


@settings(deadline=None, max_examples=25)
@given(hnp.arrays(np.float32, (3, 8), elements=st.floats(-4, 4, width=16)))
def test_the_starting_scale_is_that_of_least_squares(weight):
    got = np.asarray(nearest_scale(jnp.asarray(weight)))
    for row, scale in zip(weight, got, strict=True):
        if np.abs(row).mean() < 1e-4:
            continue
        t = signs(row.astype(np.float64)[None])[0]
        wanted = np.linalg.lstsq(t[:, None], row, rcond=None)[0][0]
        assert scale == pytest.approx(wanted, rel=1e-4, abs=1e-5)


def test_zero_rows_and_tokens_are_finite():
    layer = TernaryLinear(4, 2, rngs=nnx.Rngs(0))
    layer.weight.set_value(jnp.zeros((2, 4)))
    layer.scale.set_value(nearest_scale(layer.weight[...]))
    np.testing.assert_array_equal(layer(jnp.zeros((1, 4))), np.zeros((1, 2)))


def test_a_table_of_zeros_packs_to_zeros():
    packed = pack_table(np.zeros((2, 4), np.float32)).validate()
    assert not np.asarray(packed.values).any()


def test_numpy_and_compiled_packing_give_the_same_bytes():
    values = np.random.default_rng(3).integers(-1, 2, (2, 40, 70)).astype(np.int8)
    packed, compiled = pack_ternary(values, np.ones(2)), pack_ternary(jnp.asarray(values), jnp.ones(2))
    np.testing.assert_array_equal(packed.codes, compiled.codes)
    np.testing.assert_array_equal(packed.validate().integers(), values)


@pytest.mark.parametrize("sizes", [(0, 3), (3, 0), (-1, 3)])
def test_there_are_rows_and_columns(sizes):
    with pytest.raises(ValueError, match="columns and rows must be at least 1"):
        TernaryLinear(*sizes, rngs=nnx.Rngs(0))


def test_an_int8_table_reads_as_its_float_master_is_rounded():
    embedding = Int8Embedding(7, 6, rngs=nnx.Rngs(1))
    table, ids = np.asarray(embedding.embedding[...], np.float64), np.array([[0, 3], [6, 3]])
    scale = np.abs(table).max(-1, keepdims=True) / 127
    expected = (np.round(table / scale) * scale)[ids]
    np.testing.assert_allclose(embedding(jnp.asarray(ids)), expected, atol=1e-6)
    graphdef, state = nnx.split(embedding, nnx.Param)
    gradient = jax.grad(lambda s: jnp.sum(nnx.merge(graphdef, s)(jnp.asarray(ids))))(state)["embedding"].get_value()
    np.testing.assert_array_equal(gradient, np.array([1, 0, 0, 2, 0, 0, 1.0])[:, None].repeat(6, 1))
    packed, wanted = pack_table(embedding.embedding[...]), quantize_int8(embedding.embedding[...])
    np.testing.assert_array_equal(packed.values, wanted.values)
    np.testing.assert_allclose(packed.scale, wanted.scale, rtol=1e-6)
    embedding.embedding.set_value(packed.validate())
    np.testing.assert_allclose(embedding(jnp.asarray(ids)), expected, atol=1e-6)
