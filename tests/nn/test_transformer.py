"""Layers against independent computations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from orchestai_jax.nn import DECODER_BLOCKS, EncoderBlock, LSTMDecoderBlock, MultiHeadAttention


def test_attention_equals_float64_numpy_and_ignores_masked_keys():
    layer = MultiHeadAttention(8, 2, rngs=nnx.Rngs(0))
    random = np.random.default_rng(0)
    queries, context = random.normal(size=(2, 3, 8)), random.normal(size=(2, 5, 8))
    mask = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], bool)

    def linear(module, x):
        return x @ np.asarray(module.kernel[...], np.float64) + np.asarray(module.bias[...], np.float64)

    q, k, v = linear(layer.query, queries), linear(layer.key, context), linear(layer.value, context)
    wanted = np.zeros((2, 3, 8))
    for b in range(2):
        for h in range(2):
            part = slice(4 * h, 4 * h + 4)
            scores = q[b, :, part] @ k[b, :, part].T / 2.0
            scores = np.exp(scores) * mask[b]
            wanted[b, :, part] = scores / scores.sum(-1, keepdims=True) @ v[b, :, part]
    got = layer(jnp.asarray(queries, jnp.float32), jnp.asarray(context, jnp.float32), jnp.asarray(mask)[:, None, :])
    np.testing.assert_allclose(got, linear(layer.out, wanted), atol=2e-6)


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="3 does not divide 8"):
        MultiHeadAttention(8, 3, rngs=nnx.Rngs(0))


@pytest.fixture(params=DECODER_BLOCKS.values(), ids=DECODER_BLOCKS)
def decoder(request):
    return request.param(8, 2, 16, rngs=nnx.Rngs(1))


def test_decoder_steps_equal_the_whole_pass(decoder):
    x = jax.random.normal(jax.random.key(0), (2, 4, 8))
    context = jax.random.normal(jax.random.key(1), (2, 5, 8))
    mask = jnp.array([[True] * 5, [True] * 3 + [False] * 2])
    whole = decoder(x, context, mask)
    cross = decoder.cross_attention.keys_values(context)
    cache = decoder.initial_cache(2, 4)
    assert all(leaf.shape[0] == 2 for leaf in jax.tree.leaves(cache))
    steps = []
    for position in range(4):
        out, cache = decoder.step(x[:, position : position + 1], jnp.array(position), cache, cross, mask)
        steps.append(out)
    np.testing.assert_allclose(jnp.concatenate(steps, axis=1), whole, atol=1e-5)


def test_decoder_remembers_what_was_and_sees_nothing_of_what_comes_later(decoder):
    x = jax.random.normal(jax.random.key(0), (1, 4, 8))
    context, mask = jnp.ones((1, 2, 8)), jnp.ones((1, 2), bool)
    before = decoder(x, context, mask)
    after = decoder(x.at[:, 2].set(jnp.arange(8.0)), context, mask)
    np.testing.assert_array_equal(before[:, :2], after[:, :2])
    assert np.abs(before[:, 3] - after[:, 3]).max() > 1e-4
    # what of the context is masked does not count
    other = context.at[:, 1].set(9.0)
    mask = mask.at[:, 1].set(False)
    np.testing.assert_array_equal(decoder(x, context, mask), decoder(x, other, mask))


def test_the_lstm_decoder_equals_torch():
    torch = pytest.importorskip("torch")
    block = LSTMDecoderBlock(8, 2, 16, rngs=nnx.Rngs(1))
    x = jax.random.normal(jax.random.key(0), (2, 5, 8))
    theirs = torch.nn.LSTM(8, 8, batch_first=True)
    cell = block.cell
    with torch.no_grad():  # gates: both order them input, forget, cell, output
        theirs.weight_ih_l0.copy_(torch.tensor(np.asarray(cell.dense_i.kernel[...]).T))
        theirs.weight_hh_l0.copy_(torch.tensor(np.asarray(cell.dense_h.kernel[...]).T))
        theirs.bias_hh_l0.copy_(torch.tensor(np.asarray(cell.dense_h.bias[...])))
        theirs.bias_ih_l0.zero_()
        wanted = theirs(torch.tensor(np.asarray(x)))[0].numpy()
    _, states = jax.lax.scan(cell, block.initial_cache(2, 5), jnp.swapaxes(x, 0, 1))
    np.testing.assert_allclose(jnp.swapaxes(states, 0, 1), wanted, atol=1e-5)


def test_dropout_acts_only_with_a_key():
    block = EncoderBlock(8, 2, 16, dropout=0.5, rngs=nnx.Rngs(0))
    x, mask = jnp.ones((1, 3, 8)) * jnp.arange(8), jnp.ones((1, 3), bool)
    np.testing.assert_array_equal(block(x, mask), block(x, mask))
    assert not np.allclose(block(x, mask), block(x, mask, rngs=nnx.Rngs(dropout=3)))
