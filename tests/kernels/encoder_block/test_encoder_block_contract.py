"""What every implementation of `encoder_block` promises, against float64 NumPy."""

import dataclasses
import functools
import inspect
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from orchestai_kernels.cpu import library
from orchestai_kernels.cpu.config import CpuConfig
from orchestai_kernels.encoder_block import ENCODER_BLOCK, BlockWeights, Dense, Norm, encoder_block

HIDDEN, HEADS, WIDE = 64, 2, 96
EPSILON = 1e-6
CPU = ("portable", "avx2", "avx512_vnni", "neon_dotprod")
OPTIONS = {"heads": HEADS, "epsilon": EPSILON}


@pytest.fixture(params=["reference", *CPU])
def how(request):
    if request.param == "reference":
        return {"implementation": "reference"}
    if library.problem() is not None:
        pytest.skip(library.problem())
    if request.param not in library.instruction_sets():
        pytest.skip(f"this processor lacks {request.param}")
    return {"implementation": "cpu", "config": CpuConfig(request.param)}


def weights(seed=0):
    draw = np.random.default_rng(seed)

    def numbers(*shape, around=0.0, scale=1.0):
        return jnp.asarray(around + scale * draw.normal(size=shape), jnp.float32)

    def dense(rows, columns):
        return Dense(numbers(rows, columns, scale=rows**-0.5), numbers(columns, scale=0.3))

    def norm():
        return Norm(numbers(HIDDEN, around=1.0, scale=0.2), numbers(HIDDEN, scale=0.2))

    square = [dense(HIDDEN, HIDDEN) for _ in range(4)]
    return BlockWeights(*square, norm(), dense(HIDDEN, WIDE), dense(WIDE, HIDDEN), norm())


def inputs(lengths, n, seed=1):
    x = np.random.default_rng(seed).normal(size=(len(lengths), n, HIDDEN)).astype(np.float32)
    return jnp.asarray(x), jnp.arange(n) < jnp.asarray(lengths)[:, None]


def expected(x, mask, of):
    """One sequence after the other, in float64."""
    x, of = np.asarray(x, np.float64), jax.tree.map(lambda a: np.asarray(a, np.float64), of)

    def dense(a, w):
        return a @ w.kernel + w.bias

    def norm(a, w):
        a = a - a.mean(-1, keepdims=True)
        return a / np.sqrt((a**2).mean(-1, keepdims=True) + EPSILON) * w.scale + w.bias

    out = np.empty_like(x)
    dim = HIDDEN // HEADS
    for row, seen in enumerate(np.asarray(mask)):
        h = x[row]
        q, k, v = (dense(h, w) for w in (of.query, of.key, of.value))
        mixed = np.empty_like(h)
        for head in range(HEADS):
            at = slice(head * dim, (head + 1) * dim)
            scores = np.where(seen, q[:, at] @ k[:, at].T / math.sqrt(dim), -1e30)
            e = np.exp(scores - scores.max(-1, keepdims=True))
            mixed[:, at] = e / e.sum(-1, keepdims=True) @ v[:, at]
        h = norm(h + dense(mixed, of.out), of.attention_norm)
        up = dense(h, of.up)
        gelu = up / 2 * (1 + np.vectorize(math.erf)(up / math.sqrt(2)))
        out[row] = norm(h + dense(gelu, of.down), of.feed_forward_norm)
    return out


UNCHECKED = inspect.unwrap(encoder_block)
"""Without the shape checks of the tests, which would come first."""


@functools.partial(jax.jit, static_argnames=("heads", "epsilon", "implementation", "config"))
def run(*arguments, **options):
    return encoder_block(*arguments, **options)


@pytest.mark.parametrize(
    ("lengths", "n"),
    [((5,), 5), ((13, 33), 40), ((1, 16), 16), ((40,) * 14, 40)],
    ids=["fewer than a tile", "padded", "one token", "more than a group"],
)
def test_it_is_the_block(how, lengths, n):
    x, mask = inputs(lengths, n)
    y = np.asarray(run(x, mask, weights(), **OPTIONS, **how))
    wanted = expected(x, mask, weights())
    np.testing.assert_allclose(y[np.asarray(mask)], wanted[np.asarray(mask)], rtol=2e-5, atol=2e-5)
    assert np.isfinite(y).all()


def test_hidden_tokens_between_others_are_not_attended_to(how):
    x, mask = inputs((30, 30), 30)
    mask = mask.at[0, 3:9].set(False).at[1, 0].set(False)
    y = np.asarray(run(x, mask, weights(), **OPTIONS, **how))
    wanted = expected(x, mask, weights())
    np.testing.assert_allclose(y[np.asarray(mask)], wanted[np.asarray(mask)], rtol=2e-5, atol=2e-5)


def test_large_scores_leave_no_infinity(how):
    x, mask = inputs((20,), 24)
    y = np.asarray(run(x * 1e3, mask, weights(), **OPTIONS, **how))
    wanted = expected(x * 1e3, mask, weights())
    np.testing.assert_allclose(y[0, :20], wanted[0, :20], rtol=1e-3, atol=1e-3)


def test_a_sequence_without_tokens_leaves_the_others_alone(how):
    x, mask = inputs((0, 7), 8)
    y = np.asarray(run(x, mask, weights(), **OPTIONS, **how))
    np.testing.assert_allclose(y[1, :7], expected(x, mask, weights())[1, :7], rtol=2e-5, atol=2e-5)
    assert np.isfinite(y).all()


def test_padding_is_not_computed_by_the_library():
    if library.problem() is not None:
        pytest.skip(library.problem())
    x, mask = inputs((3, 8), 8)
    y = np.asarray(run(x, mask, weights(), **OPTIONS, implementation="cpu"))
    assert (y[0, 3:] == 0).all()
    assert (y[0, :3] != 0).all()


@pytest.mark.parametrize("mapped", [(0, 0, None), (0, None, None), (None, 0, None)], ids=["both", "x", "mask"])
def test_it_maps(how, mapped):
    x, mask = inputs((5, 9, 2, 7, 9, 1), 9)
    x, mask = x.reshape(3, 2, 9, HIDDEN), mask.reshape(3, 2, 9)
    given = x if mapped[0] == 0 else x[0], mask if mapped[1] == 0 else mask[0]

    @jax.jit
    def all_of(x, mask, of):
        return jax.vmap(functools.partial(encoder_block, **OPTIONS, **how), in_axes=mapped)(x, mask, of)

    y = np.asarray(all_of(*given, weights()))
    for i in range(3):
        one = given[0][i] if mapped[0] == 0 else given[0], given[1][i] if mapped[1] == 0 else given[1]
        seen = np.asarray(one[1])
        np.testing.assert_allclose(y[i][seen], expected(*one, weights())[seen], rtol=2e-5, atol=2e-5)


def test_its_gradient_is_the_references():
    if library.problem() is not None:
        pytest.skip(library.problem())
    x, mask = inputs((6, 3), 6)

    def loss(implementation):
        def of(x, given):
            y = encoder_block(x, mask, given, **OPTIONS, implementation=implementation)
            return jnp.sum(jnp.where(mask[..., None], jnp.sin(y), 0.0))

        return jax.jit(jax.grad(of, argnums=(0, 1)))(x, weights())

    for found, wanted in zip(jax.tree.leaves(loss("cpu")), jax.tree.leaves(loss("reference")), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_what_comes_out_of_padding_moves_nothing():
    """Its value means nothing, so a loss that reads it gets no gradient from there."""
    if library.problem() is not None:
        pytest.skip(library.problem())
    x, mask = inputs((4,), 8)

    def loss(x):
        return jnp.sum(encoder_block(x, mask, weights(), **OPTIONS, implementation="cpu")[:, 4:])

    np.testing.assert_array_equal(jax.jit(jax.grad(loss))(x), 0)


def test_what_does_not_fit_is_said():
    x, mask = inputs((4,), 4)
    given = weights()
    with pytest.raises(ValueError, match=r"mask must be bool \(1, 4\), got int32 \(1, 4\)"):
        UNCHECKED(x, mask.astype(jnp.int32), given, **OPTIONS)
    with pytest.raises(ValueError, match="heads must divide x's 64 columns, got 3"):
        UNCHECKED(x, mask, given, heads=3)
    with pytest.raises(ValueError, match=r"down must have kernel \(96, 64\)"):
        UNCHECKED(x, mask, dataclasses.replace(given, down=given.up), **OPTIONS)


def test_narrow_heads_are_left_to_the_reference():
    x, mask = inputs((4,), 4)
    chosen = ENCODER_BLOCK.choose(x, mask, weights(), heads=4, epsilon=EPSILON)
    assert chosen.implementation == "reference"
