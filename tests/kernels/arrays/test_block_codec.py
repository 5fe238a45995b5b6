"""The block codec against its definition in NumPy float64."""

import dataclasses
import functools

import hypothesis
import hypothesis.extra.numpy
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from orchestai_kernels.arrays import decode_blocks, encode_blocks, encoded_ratio

encode = jax.jit(encode_blocks, static_argnames=("block", "root", "signed"))
decode = jax.jit(decode_blocks)


def levels(root, signed):
    most = 127 if signed else 255
    return np.concatenate(
        [-((np.arange(most, 0, -1) / most) ** root) if signed else [], (np.arange(most + 1) / most) ** root]
    )


def blocks_of(x, block):
    flat = np.zeros(-(-x.size // block) * block)
    flat[: x.size] = x.reshape(-1)
    return flat.reshape(-1, block)


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("root", [1, 2, 4])
def test_each_number_becomes_one_of_the_two_levels_beside_it(root, signed):
    rng = np.random.default_rng(root)
    x = (rng.normal(size=(7, 30)) * 10.0 ** rng.uniform(-3, 3, (7, 1))).astype(np.float32)
    x = x if signed else np.abs(x)
    x[2, :9] = 0
    grid = levels(root, signed)
    for noise in (None, jnp.uint32(5)):
        array = encode(x, block=16, root=root, signed=signed, noise=noise).validate()
        got, given_ = blocks_of(np.asarray(decode(array)), 16), blocks_of(x.astype(np.float64), 16)
        scale = np.abs(given_).max(1, keepdims=True)
        np.testing.assert_array_equal(array.scale, scale[:, 0])
        share = np.divide(given_, scale, where=scale > 0, out=np.zeros_like(given_))
        above = np.clip(np.searchsorted(grid, share - 1e-7), 0, len(grid) - 1)
        near = np.stack([grid[np.maximum(above - 1, 0)], grid[above], grid[np.minimum(above + 1, len(grid) - 1)]])
        distance = np.abs(np.divide(got, scale, where=scale > 0, out=np.zeros_like(got)) - near)
        assert (distance.min(0) < 2e-6).all()
        if noise is None:  # and the nearer one, in steps
            power = 1 / root
            off = np.abs(
                np.sign(got) * np.abs(got / np.where(scale > 0, scale, 1)) ** power
                - np.sign(share) * np.abs(share) ** power
            )
            floor = 1 if not signed else 0.5  # zero is kept for zero
            assert off.max() <= (floor + 1e-3) / (127 if signed else 255)


def test_random_rounding_keeps_the_mean_and_repeats_itself():
    x = np.random.default_rng(0).normal(size=512).astype(np.float32)
    many = functools.partial(encode, block=64, root=4)
    decoded = np.stack([np.asarray(decode(many(x, noise=jnp.uint32(seed)))) for seed in range(400)])
    scale = np.repeat(np.abs(x.reshape(-1, 64)).max(1), 64)
    grid, share = levels(4, True), x / scale.astype(np.float64)
    above = np.clip(np.searchsorted(grid, share), 1, len(grid) - 1)
    lower, upper = grid[above - 1], grid[above]
    odds = (share - lower) / (upper - lower)
    expected_error = np.sqrt(odds * (1 - odds) / 400) * (upper - lower)
    assert (np.abs(decoded.astype(np.float64).mean(0) / scale - share) < 5 * expected_error + 1e-6).all()
    assert (decoded.std(0)[(odds > 0.1) & (odds < 0.9)] > 0).all()
    np.testing.assert_array_equal(many(x, noise=jnp.uint32(3)).codes, many(x, noise=jnp.uint32(3)).codes)
    assert (many(x, noise=jnp.uint32(3)).codes != many(x, noise=jnp.uint32(4)).codes).any()


def test_a_moving_average_follows_what_a_nearest_rounding_would_lose():
    """v ← .999 v + .001 g² with g² constant and three times v: steps are far below one of the codes."""
    target = np.full(64, 3.0, np.float32)
    target[0] = 100.0

    @functools.partial(jax.jit, static_argnames="rounded")
    def run(rounded):
        def step(v, i):
            v = 0.999 * decode_blocks(v) + 0.001 * target
            return encode_blocks(v, 64, root=4, signed=False, noise=i if rounded == "random" else None), None

        start = np.ones(64, np.float32)
        start[0] = 100.0
        encoded = encode_blocks(start, 64, root=4, signed=False)
        return decode_blocks(jax.lax.scan(step, encoded, jnp.arange(3000, dtype=jnp.uint32))[0])

    wanted = 3 - 2 * 0.999**3000
    assert abs(float(run("random")[1:].mean()) - wanted) < 0.1
    assert float(run("nearest")[1:].mean()) < 1.1  # it never moved


def test_a_number_of_less_than_float32s_least_share_of_its_block_is_not_lost():
    array = encode(np.array([1.4170770e8, 1.6657658e-30, 0.0], np.float32), block=8, root=1, signed=False)
    assert array.codes[0, :3].tolist() == [255, 1, 0]


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(
    x=hypothesis.extra.numpy.arrays(
        np.float32,
        st.sampled_from([(0,), (1,), (3, 5), (2, 4, 8)]),
        elements=st.floats(-(2.0**60), 2.0**60, width=32).map(lambda v: 0.0 if abs(v) < 1e-30 else v),
    ),
    root=st.sampled_from([1, 2, 4]),
    signed=st.booleans(),
)
def test_any_array_keeps_its_shape_its_signs_and_its_largest(x, root, signed):
    array = encode(x, block=8, root=root, signed=signed).validate()
    got = np.asarray(decode(array))
    assert got.shape == x.shape
    assert (got * x >= 0).all()
    assert array.nbytes == 9 * -(-x.size // 8) + 3 * -(-x.size // 8)
    x = x if signed else np.maximum(x, 0)
    np.testing.assert_allclose(np.abs(got).max(initial=0), np.abs(x).max(initial=0), rtol=1e-6)
    # the step below the largest is the widest
    most = 127 if signed else 255
    widest = 1 - (1 - 1 / most) ** root
    scale = np.repeat(np.asarray(array.scale), 8)[: x.size].reshape(x.shape)
    assert (np.abs(got - x) <= (0.51 * widest + (most ** -float(root) if not signed else 0)) * scale + 1e-30).all()
    if not signed:
        assert ((got > 0) == (x > 1e-30)).all() or root == 4  # most⁻⁴ of a small block may underflow


def test_blocks_that_are_not_finite_read_as_nan_and_the_others_do_not():
    x = np.ones(32, np.float32)
    x[3], x[20] = np.nan, np.inf
    got = np.asarray(decode(encode(x, block=8)))
    np.testing.assert_array_equal(np.isnan(got), np.repeat([True, False, True, False], 8))


def test_what_it_refuses_and_how_much_it_takes():
    with pytest.raises(ValueError, match="block must be at least 1, got 0"):
        encode_blocks(np.ones(3, np.float32), 0)
    array = encode_blocks(np.ones((64, 64), np.float32), 64)
    assert array.nbytes / (4 * 64 * 64) == encoded_ratio(64) == 0.265625
    with pytest.raises(ValueError, match=r"codes' shape must be \(65, 64\), got \(64, 64\)"):
        dataclasses.replace(array, shape=(64, 65)).validate()
    with pytest.raises(ValueError, match=r"root must be one of \(1, 2, 4\), got 3"):
        dataclasses.replace(array, root=3).validate()
    with pytest.raises(ValueError, match="codes' dtype must be int8 or uint8, got int32"):
        dataclasses.replace(array, codes=array.codes.astype(jnp.int32)).validate()
