"""What every implementation of `ternary_encoder_block` promises, against float64 NumPy."""

import functools
import inspect
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from orchestai_kernels.arrays import pack_ternary
from orchestai_kernels.cpu import library
from orchestai_kernels.cpu.config import CpuConfig
from orchestai_kernels.encoder_block import Norm
from orchestai_kernels.ternary_encoder_block import (
    TERNARY_ENCODER_BLOCK,
    TernaryBlockWeights,
    TernaryDense,
    ternary_encoder_block,
)

HIDDEN, HEADS, WIDE = 64, 2, 96
OPTIONS = {"heads": HEADS, "epsilon": 1e-6, "sub_epsilon": 1e-5}
CPU = ("portable", "avx2", "avx512_vnni", "neon_dotprod")
UNCHECKED = inspect.unwrap(ternary_encoder_block)
"""Without the shape checks of the tests, which would come first."""


@pytest.fixture(params=["reference", *CPU])
def how(request):
    if request.param == "reference":
        return {"implementation": "reference"}
    if library.problem() is not None:
        pytest.skip(library.problem())
    if request.param not in library.instruction_sets():
        pytest.skip(f"this processor lacks {request.param}")
    return {"implementation": "cpu", "config": CpuConfig(request.param)}


def weights(sub_norms=True, seed=0):
    draw = np.random.default_rng(seed)

    def numbers(size, around=0.0, scale=1.0):
        return jnp.asarray(around + scale * draw.normal(size=size), jnp.float32)

    def dense(rows, columns):
        packed = pack_ternary(draw.integers(-1, 2, (rows, columns)).astype(np.int8), 0.5)
        return TernaryDense(packed, numbers(rows, 2 * columns**-0.5, 0.02), numbers(rows, scale=0.3))

    def norm():
        return Norm(numbers(HIDDEN, 1.0, 0.2), numbers(HIDDEN, scale=0.2))

    first, second = (numbers(size, 1.0, 0.2) if sub_norms else None for size in (HIDDEN, WIDE))
    return TernaryBlockWeights(
        dense(3 * HIDDEN, HIDDEN), first, dense(HIDDEN, HIDDEN), norm(), dense(WIDE, HIDDEN), second,
        dense(HIDDEN, WIDE), norm(),
    )  # fmt: skip


def inputs(lengths, n, seed=1):
    x = np.random.default_rng(seed).normal(size=(len(lengths), n, HIDDEN)).astype(np.float32)
    return jnp.asarray(x), jnp.arange(n) < jnp.asarray(lengths)[:, None]


def expected(x, mask, of):
    """One sequence after the other, in float64 with activations rounded as they are defined to be."""
    out = np.empty(x.shape)
    for row, seen in enumerate(np.asarray(mask)):
        h = np.asarray(x[row], np.float64)
        q, k, v = np.split(_dense(h, of.qkv), 3, axis=-1)
        mixed, dim = np.empty_like(h), HIDDEN // HEADS
        for head in range(HEADS):
            at = slice(head * dim, (head + 1) * dim)
            scores = np.where(seen, q[:, at] @ k[:, at].T / math.sqrt(dim), -1e30)
            e = np.exp(scores - scores.max(-1, keepdims=True))
            mixed[:, at] = e / e.sum(-1, keepdims=True) @ v[:, at]
        h = _norm(h + _dense(_sub_norm(mixed, of.attention_sub_norm), of.out), of.attention_norm)
        up = _dense(h, of.up)
        gelu = up / 2 * (1 + np.vectorize(math.erf)(up / math.sqrt(2)))
        out[row] = _norm(h + _dense(_sub_norm(gelu, of.feed_forward_sub_norm), of.down), of.feed_forward_norm)
    return out


def _dense(a, of):
    scale = 127 / np.maximum(np.abs(a).max(-1, keepdims=True), 1e-5)
    signs = np.asarray(of.matrix.integers(), np.float64)
    return np.rint(a * scale) / scale @ signs.T * 0.5 * np.asarray(of.scale, np.float64) + np.asarray(of.bias)


def _norm(a, of):
    a = a - a.mean(-1, keepdims=True)
    return a / np.sqrt((a**2).mean(-1, keepdims=True) + OPTIONS["epsilon"]) * np.asarray(of.scale) + np.asarray(of.bias)


def _sub_norm(a, weight):
    if weight is None:
        return a
    return a / np.sqrt((a**2).mean(-1, keepdims=True) + OPTIONS["sub_epsilon"]) * np.asarray(weight)


@functools.partial(jax.jit, static_argnames=(*OPTIONS, "implementation", "config"))
def run(*arguments, **options):
    return ternary_encoder_block(*arguments, **options)


def close(found, wanted):
    """Nearly all equal: where float32 and float64 round an activation to different steps, the results differ by it."""
    far = np.abs(found - wanted) > 1e-4 * (1 + np.abs(wanted))
    assert far.mean() < 0.2
    np.testing.assert_allclose(found, wanted, atol=0.05)


@pytest.mark.parametrize(
    ("lengths", "n", "sub_norms"),
    [((5,), 5, True), ((13, 33), 40, True), ((1, 16), 16, False), ((40,) * 14, 40, True)],
    ids=["fewer than a tile", "padded", "one token, no sub-norms", "more than a group"],
)
def test_it_is_the_block(how, lengths, n, sub_norms):
    x, mask = inputs(lengths, n)
    y = np.asarray(run(x, mask, weights(sub_norms), **OPTIONS, **how))
    seen = np.asarray(mask)
    close(y[seen], expected(x, mask, weights(sub_norms))[seen])
    assert np.isfinite(y).all()


def test_hidden_tokens_between_others_are_not_attended_to(how):
    x, mask = inputs((30, 30), 30)
    mask = mask.at[0, 3:9].set(False).at[1, 0].set(False)
    seen = np.asarray(mask)
    close(np.asarray(run(x, mask, weights(), **OPTIONS, **how))[seen], expected(x, mask, weights())[seen])


def test_a_sequence_without_tokens_leaves_the_others_alone(how):
    x, mask = inputs((0, 7), 8)
    y = np.asarray(run(x, mask, weights(), **OPTIONS, **how))
    close(y[1, :7], expected(x, mask, weights())[1, :7])
    assert np.isfinite(y).all()


def test_a_token_that_is_not_finite_gives_nan_and_leaves_other_sequences_alone(how):
    x, mask = inputs((5, 5), 8)
    y = np.asarray(run(x.at[0, 2, 3].set(jnp.nan), mask, weights(), **OPTIONS, **how))
    assert np.isnan(y[0, 2]).all()
    close(y[1, :5], expected(x, mask, weights())[1, :5])


def test_padding_is_not_computed_by_the_library():
    if library.problem() is not None:
        pytest.skip(library.problem())
    x, mask = inputs((3, 8), 8)
    y = np.asarray(run(x, mask, weights(), **OPTIONS, implementation="cpu"))
    assert (y[0, 3:] == 0).all()
    assert (y[0, :3] != 0).all()


def test_it_maps_over_instructions(how):
    x, mask = inputs((5, 9, 2, 7, 9, 1), 9)
    x, mask = x.reshape(3, 2, 9, HIDDEN), mask.reshape(3, 2, 9)
    of = functools.partial(ternary_encoder_block, **OPTIONS, **how)
    y = np.asarray(jax.jit(jax.vmap(of, in_axes=(0, 0, None)))(x, mask, weights()))
    for i in range(3):
        seen = np.asarray(mask[i])
        close(y[i][seen], expected(x[i], mask[i], weights())[seen])


def test_its_gradient_is_the_references():
    if library.problem() is not None:
        pytest.skip(library.problem())
    x, mask = inputs((6, 3), 6)

    def gradient(implementation):
        def loss(x, bias):
            given = weights()
            up = TernaryDense(given.up.matrix, given.up.scale, bias)
            changed = TernaryBlockWeights(**{**vars(given), "up": up})
            y = ternary_encoder_block(x, mask, changed, **OPTIONS, implementation=implementation)
            return jnp.sum(jnp.where(mask[..., None], jnp.sin(y), 0.0))

        return jax.jit(jax.grad(loss, argnums=(0, 1)))(x, weights().up.bias)

    for found, wanted in zip(gradient("cpu"), gradient("reference"), strict=True):
        assert np.abs(wanted).max() > 1e-2
        np.testing.assert_allclose(found, wanted, atol=0.02 * np.abs(wanted).max())


def test_what_does_not_fit_is_said():
    x, mask = inputs((4,), 4)
    given = weights()
    with pytest.raises(ValueError, match=r"mask must be bool \(1, 4\), got int32 \(1, 4\)"):
        UNCHECKED(x, mask.astype(jnp.int32), given, **OPTIONS)
    with pytest.raises(ValueError, match="heads must divide x's 64 columns, got 3"):
        UNCHECKED(x, mask, given, heads=3)
    swapped = TernaryBlockWeights(**{**vars(given), "down": given.up})
    with pytest.raises(ValueError, match=r"down's matrix must be \(64, 96\), got \(96, 64\)"):
        UNCHECKED(x, mask, swapped, **OPTIONS)


def test_narrow_heads_are_left_to_the_reference():
    x, mask = inputs((4,), 4)
    chosen = TERNARY_ENCODER_BLOCK.choose(x, mask, weights(), **{**OPTIONS, "heads": 4})
    assert chosen.implementation == "reference"
