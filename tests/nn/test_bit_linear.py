"""BitLinear, RMSNorm and rotary positions, against float64 NumPy and torch."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from orchestai_jax.nn.bit_linear import BitLinear
from orchestai_jax.nn.norms import RMSNorm
from orchestai_jax.nn.rotary import rotary_angles, rotate
from orchestai_jax.quantization import pack_weights

X = np.random.default_rng(1).normal(size=(3, 5, 16)).astype(np.float32)


def rounded_tokens(x):
    scale = 127 / np.abs(x).max(-1, keepdims=True)
    return np.round(x * scale) / scale


def rounded_ternary(w):
    mean = np.abs(w).mean()
    return np.clip(np.round(w / mean), -1, 1) * mean


def test_training_and_packed_form_equal_the_definition():
    layer = BitLinear(16, (8, 4), rngs=nnx.Rngs(0))
    weight = np.asarray(layer.weight[...], np.float64)
    rounded = np.concatenate([rounded_ternary(weight[:8]), rounded_ternary(weight[8:])])
    expected = rounded_tokens(X.astype(np.float64)) @ rounded.T
    np.testing.assert_allclose(layer(jnp.asarray(X)), expected, atol=2e-6)
    first, second = layer.split(layer(jnp.asarray(X)))
    assert (first.shape, second.shape) == ((3, 5, 8), (3, 5, 4))
    layer.weight.set_value(pack_weights(layer.weight[...], "ternary", parts=layer.parts))
    np.testing.assert_allclose(layer(jnp.asarray(X)), expected, atol=2e-6)


@pytest.mark.parametrize("activations", ["int8", "none"])
@pytest.mark.parametrize("weights", ["ternary", "binary", "int8"])
def test_packed_equals_training_for_every_kind(weights, activations):
    layer = BitLinear(16, (8, 4), weights=weights, activations=activations, rngs=nnx.Rngs(0))
    trained = layer(jnp.asarray(X))
    layer.weight.set_value(pack_weights(layer.weight[...], weights, parts=layer.parts))
    np.testing.assert_allclose(layer(jnp.asarray(X)), trained, atol=2e-6)


@pytest.mark.parametrize("rows", [0, (), (4, 0), (-1, 4)])
def test_a_projection_has_rows(rows):
    with pytest.raises(ValueError, match=rf"rows must be at least 1 a projection, got {re.escape(str(rows))}"):
        BitLinear(8, rows, rngs=nnx.Rngs(0))


def test_a_float_layer_rounds_nothing():
    layer = BitLinear(16, 8, weights="float", activations="none", rngs=nnx.Rngs(0))
    expected = X.astype(np.float64) @ np.asarray(layer.weight[...], np.float64).T
    np.testing.assert_allclose(layer(jnp.asarray(X)), expected, atol=1e-6)


def test_strength_0_is_the_float_layer_and_1_the_whole_rounding():
    layer = BitLinear(16, 8, rngs=nnx.Rngs(0))
    expected = X @ np.asarray(layer.weight[...]).T
    np.testing.assert_allclose(layer(jnp.asarray(X), strength=0.0), expected, atol=1e-6)
    np.testing.assert_allclose(layer(jnp.asarray(X), strength=1.0), layer(jnp.asarray(X)), atol=1e-6)


def test_gradients_are_those_of_the_product_of_rounded_numbers():
    layer = BitLinear(16, 8, rngs=nnx.Rngs(0))
    graphdef, state = nnx.split(layer)
    dy = np.random.default_rng(2).normal(size=(3, 5, 8)).astype(np.float32)

    def loss(state, x):
        return jnp.sum(nnx.merge(graphdef, state)(x) * dy)

    by_state, dx = jax.grad(loss, argnums=(0, 1))(state, jnp.asarray(X))
    weight = np.asarray(layer.weight[...], np.float64)
    np.testing.assert_allclose(dx, dy @ rounded_ternary(weight), atol=1e-5)
    expected = np.einsum("btn,btk->nk", dy, rounded_tokens(X.astype(np.float64)))
    np.testing.assert_allclose(by_state["weight"].get_value(), expected, atol=1e-4)


def test_nan_reaches_only_its_token():
    x = X.copy()
    x[0, 0, 3] = np.nan
    y = np.asarray(BitLinear(16, 8, rngs=nnx.Rngs(0))(jnp.asarray(x)))
    assert np.isnan(y[0, 0]).all()
    assert np.isfinite(np.delete(y.reshape(15, 8), 0, 0)).all()


def test_rms_norm_equals_torch():
    torch = pytest.importorskip("torch")
    norm = RMSNorm(16, epsilon=0.1, rngs=nnx.Rngs(0))
    norm.weight.set_value(jnp.linspace(0.5, 2, 16))
    expected = torch.nn.functional.rms_norm(torch.tensor(X), (16,), torch.linspace(0.5, 2, 16), 0.1)
    np.testing.assert_allclose(norm(jnp.asarray(X)), expected.numpy(), atol=1e-6)
    assert norm(jnp.asarray(X, jnp.bfloat16)).dtype == jnp.bfloat16


def test_rotation_is_that_of_complex_numbers():
    x = np.random.default_rng(3).normal(size=(2, 5, 3, 8)).astype(np.float32)
    positions = np.arange(5) + 2
    angles = positions[:, None] * 100.0 ** (-np.arange(4) / 4)
    turned = (x[..., :4] + 1j * x[..., 4:]) * np.exp(1j * angles)[None, :, None]
    result = rotate(jnp.asarray(x), *rotary_angles(jnp.asarray(positions), 8, 100.0))
    np.testing.assert_allclose(result, np.concatenate([turned.real, turned.imag], -1), atol=1e-5)
