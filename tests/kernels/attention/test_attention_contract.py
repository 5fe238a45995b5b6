"""What every implementation of attention must do; the definition it is held to is float64 NumPy."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from orchestai_kernels.arrays import dequantize_int8, quantize_int8
from orchestai_kernels.attention import ATTENTION, GpuTiles, TpuTiles, attention
from orchestai_kernels.attention.shapes import SHAPES
from orchestai_kernels.dispatch import overridden

IMPLEMENTATIONS = ("reference", "xla", "pallas_gpu", "pallas_tpu")
GPU_16 = GpuTiles(*[16] * 2, 4, 2, 1, *[16] * 4)
CONFIGS = {"pallas_gpu": GPU_16, "pallas_tpu": TpuTiles(128, 128, 128, 128)}
"""Tiles so small that there are several of them."""


def run(implementation, q, k, v, config=None, **options):
    with overridden(interpret=not implementation.endswith(jax.default_backend())):
        return attention(
            q, k, v, implementation=implementation, config=config or CONFIGS.get(implementation), **options
        )


def definition(q, k, v, visible):
    """softmax(q kᵀ / √d) v head by head, in float64, over the visible [batch, heads, queries, keys]."""
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    out = np.zeros((*q.shape[:3], v.shape[3]))
    group = q.shape[2] // k.shape[2]
    for b, i, h in np.ndindex(*q.shape[:3]):
        seen = np.flatnonzero(visible[b, h, i])
        if len(seen):
            scores = k[b, seen, h // group] @ q[b, i, h] / np.sqrt(q.shape[3])
            weights = np.exp(scores - scores.max())
            out[b, i, h] = weights / weights.sum() @ v[b, seen, h // group]
    return out


def numbers(seed, *shape, dtype=jnp.float32):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), dtype)


@dataclasses.dataclass
class Case:
    q: jax.Array
    k: jax.Array
    v: jax.Array
    options: dict
    visible: np.ndarray


def case(name):
    rng = np.random.default_rng(3)
    if name == "decoding":  # a padded cache, several new tokens, grouped queries, one element that holds nothing
        q, k, v = numbers(0, 3, 5, 4, 8), numbers(1, 3, 139, 2, 8), numbers(2, 3, 139, 2, 8)
        lengths = np.array([9, 131, 0])  # the second crosses from one tile of keys into the next
        options = {"causal": True, "lengths": jnp.asarray(lengths), "query_start": jnp.asarray(lengths - 5)}
        latest = (lengths - 5)[:, None] + np.arange(5)
        visible = np.broadcast_to((np.arange(139) <= latest[..., None])[:, None], (3, 4, 5, 139))
        visible = visible & (np.arange(139) < lengths[:, None, None, None])
    elif name == "masked":  # a mask a head, that hides all from some rows, segments and lengths
        q, k, v = numbers(0, 2, 37, 4, 8), numbers(1, 2, 41, 2, 8), numbers(2, 2, 41, 2, 8)
        mask = rng.random((2, 4, 37, 41)) < 0.2
        mask[:, :, 3] = False
        queries, keys = np.sort(rng.integers(0, 3, (2, 37))), np.sort(rng.integers(0, 3, (2, 41)))
        options = {"mask": jnp.asarray(mask), "segment_ids": (jnp.asarray(queries), jnp.asarray(keys))}
        options["lengths"] = jnp.array([41, 30])
        visible = mask & (queries[:, None, :, None] == keys[:, None, None, :])
        visible[1, ..., 30:] = False
    elif name == "causal":  # one key head, prime lengths of more than one block
        q, k, v = numbers(0, 1, 131, 2, 16), numbers(1, 1, 131, 1, 16), numbers(2, 1, 131, 1, 16)
        options = {"causal": True}
        visible = np.broadcast_to(np.tril(np.ones((131, 131), bool)), (1, 2, 131, 131))
    else:
        q, k, v = numbers(0, 1, 1, 1, 1), numbers(1, 1, 1, 1, 1), numbers(2, 1, 1, 1, 1)
        options, visible = {}, np.ones((1, 1, 1, 1), bool)
    return Case(q, k, v, options, visible)


CASES = ("decoding", "masked", "causal", "one of each")


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("name", CASES)
def test_equals_the_definition_with_its_gradient(implementation, name):
    given = case(name)
    weight = numbers(9, *given.q.shape)

    @jax.jit
    def both(q, k, v):
        out, backward = jax.vjp(lambda *x: run(implementation, *x, **given.options), q, k, v)
        return out, backward(weight)

    out, gradients = both(given.q, given.k, given.v)
    expected = definition(given.q, given.k, given.v, given.visible)
    np.testing.assert_allclose(out, expected, rtol=2e-5, atol=2e-6)
    assert out.dtype == given.q.dtype
    # the slope along a random direction of each argument, by central differences in float64
    arguments = [np.asarray(x, np.float64) for x in (given.q, given.k, given.v)]
    for index, gradient in enumerate(gradients):
        direction = np.random.default_rng(20 + index).standard_normal(arguments[index].shape)

        def along(step, index=index, direction=direction):
            moved = [x + step * direction if i == index else x for i, x in enumerate(arguments)]
            return np.sum(definition(*moved, given.visible) * np.asarray(weight, np.float64))

        slope = (along(1e-5) - along(-1e-5)) / 2e-5
        np.testing.assert_allclose(np.sum(np.asarray(gradient, np.float64) * direction), slope, rtol=1e-4, atol=1e-4)


@functools.cache
def gradient_over_dequantised():
    """Of the sum towards the queries, by the reference, which the definition has been compared with."""
    given = case("decoding")

    def total(q):
        k, v = (dequantize_int8(quantize_int8(x)) for x in (given.k, given.v))
        return jnp.sum(run("reference", q, k, v, **given.options))

    return jax.jit(jax.grad(total))(given.q)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_an_int8_cache_equals_its_dequantised_numbers(implementation):
    given = case("decoding")
    k, v = quantize_int8(given.k), quantize_int8(given.v)
    config = dataclasses.replace(GPU_16, splits=4) if implementation == "pallas_gpu" else None

    @jax.jit
    def both(q):
        out, backward = jax.vjp(lambda x: run(implementation, x, k, v, config, **given.options), q)
        return out, backward(jnp.ones_like(q))[0]

    out, gradient = both(given.q)
    expected = definition(given.q, dequantize_int8(k), dequantize_int8(v), given.visible)
    np.testing.assert_allclose(out, expected, rtol=2e-5, atol=2e-6)
    np.testing.assert_allclose(gradient, gradient_over_dequantised(), rtol=1e-4, atol=1e-5)


HALVES = tuple(numbers(seed, 2, 1, 17, 2, 8, dtype=jnp.bfloat16) for seed in range(3))


@functools.cache
def gradients_in_float32():
    def total(*x):
        return jnp.sum(jax.vmap(lambda *y: run("reference", *y, causal=True))(*x) ** 2) / 2

    return jax.jit(jax.grad(total, (0, 1, 2)))(*(x.astype(jnp.float32) for x in HALVES))


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_vmap_remat_and_bfloat16(implementation):
    q, k, v = HALVES

    @jax.jit
    def step(q, k, v):
        out = jax.vmap(jax.checkpoint(lambda *x: run(implementation, *x, causal=True)))(q, k, v)
        return jnp.sum(out.astype(jnp.float32) ** 2) / 2, out

    gradients, out = jax.grad(step, argnums=(0, 1, 2), has_aux=True)(q, k, v)
    assert out.dtype == jnp.bfloat16
    assert all(gradient.dtype == jnp.bfloat16 for gradient in gradients)
    visible = np.broadcast_to(np.tril(np.ones((17, 17), bool)), (1, 2, 17, 17))
    for i in range(2):
        expected = definition(q[i], k[i], v[i], visible)
        np.testing.assert_allclose(out[i].astype(jnp.float32), expected, rtol=0.02, atol=0.02)
    for gradient, wanted in zip(gradients, gradients_in_float32(), strict=True):
        np.testing.assert_allclose(gradient.astype(jnp.float32), wanted, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("platform", ["gpu", "tpu"])
def test_vmap_over_lengths_runs_and_lowers(platform):
    q, lengths = numbers(0, 3, 1, 17, 2, 8), jnp.array([[5], [9], [17]])

    def forward(q, lengths):
        def one(q, lengths):
            return run(f"pallas_{platform}", q, q, q, lengths=lengths)

        return jax.vmap(one)(q, lengths)

    out = jax.jit(forward)(q, lengths)
    for i, length in enumerate((5, 9, 17)):
        expected = definition(q[i], q[i], q[i], np.broadcast_to(np.arange(17) < length, (1, 2, 17, 17)))
        np.testing.assert_allclose(out[i], expected, rtol=2e-5, atol=2e-6)

    def gradient(q):
        def one(q, lengths):
            return attention(q, q, q, lengths=lengths, implementation=f"pallas_{platform}")

        return jax.grad(lambda q: jnp.sum(jax.vmap(one)(q, lengths)))(q)

    with overridden(platform=platform):
        jax.jit(gradient).trace(q).lower(lowering_platforms=("cuda" if platform == "gpu" else platform,))


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_a_nan_reaches_the_rows_that_see_it_and_no_second_compilation(implementation):
    given = case("causal")
    traced = []

    @jax.jit
    def forward(q, k, v):
        traced.append(1)
        return run(implementation, q, k, v, causal=True)

    assert np.isfinite(forward(given.q, given.k, given.v)).all()
    spoilt = forward(given.q, given.k.at[0, 20, 0, 0].set(jnp.nan), given.v)
    assert np.isfinite(spoilt[:, :20]).all()
    assert np.isnan(spoilt[:, 20:]).all()
    infinite = forward(given.q, given.k, given.v.at[0, 20].set(jnp.inf))
    assert np.isposinf(infinite[:, 20:]).all()
    assert len(traced) == 1


@pytest.mark.parametrize("implementation", ["auto", "reference"])
@pytest.mark.parametrize("empty", ["batch", "queries", "keys", "heads"])
def test_empty_axes(implementation, empty):
    sizes = {"batch": 2, "queries": 3, "keys": 5, "heads": 2, empty: 0}
    q = jnp.ones((sizes["batch"], sizes["queries"], sizes["heads"], 4))
    k = jnp.ones((sizes["batch"], sizes["keys"], sizes["heads"], 4))
    out = jax.jit(lambda q, k: attention(q, k, k, implementation=implementation))(q, k)
    assert out.shape == q.shape
    assert not out.any()  # no keys: nothing is seen


@pytest.mark.parametrize("implementation", ["xla", "pallas_gpu", "pallas_tpu"])
def test_the_others_refuse_empty_axes(implementation):
    with pytest.raises(NotImplementedError, match="wants no empty axis"):
        run(implementation, jnp.ones((1, 0, 1, 4)), jnp.ones((1, 3, 1, 4)), jnp.ones((1, 3, 1, 4)))


@pytest.mark.parametrize("implementation", ["reference", "pallas_gpu", "pallas_tpu"])
def test_values_of_another_width(implementation):
    q, k, v = numbers(0, 1, 3, 2, 8), numbers(1, 1, 3, 2, 8), numbers(2, 1, 3, 2, 5)
    expected = definition(q, k, v, np.ones((1, 2, 3, 3), bool))
    out = jax.jit(lambda *x: run(implementation, *x))(q, k, v)
    np.testing.assert_allclose(out, expected, rtol=2e-5, atol=2e-6)
    with pytest.raises(NotImplementedError, match="wants values as wide as keys, got 5 and 8"):
        run("xla", q, k, v)


def _lowered(implementation, platform, shape):
    target = "cuda" if platform == "gpu" else platform
    arrays, structure = jax.tree.flatten(shape.args)

    def forward(*arrays):
        return ATTENTION(*jax.tree.unflatten(structure, arrays), implementation=implementation, **shape.kwargs)

    def both(*arrays):
        out, backward = jax.vjp(lambda q: forward(q, *arrays[1:]), arrays[0])
        return backward(out)

    with overridden(platform=platform):
        return jax.jit(both if shape.gradient else forward).trace(*arrays).lower(lowering_platforms=(target,)).as_text()


@pytest.mark.parametrize("platform", ["gpu", "tpu"])
@pytest.mark.parametrize("name", [name for name, shape in SHAPES.items() if "gpu" in shape.platforms])
def test_lowers_at_the_named_shapes(platform, name):
    text = _lowered(f"pallas_{platform}", platform, SHAPES[name])
    kernels = len(re.findall(r"custom_call @(__gpu\$xla\.gpu\.triton|triton_kernel_call|tpu_custom_call)", text))
    assert kernels == (3 if SHAPES[name].gradient else 1)  # forward, towards q, towards k and v


@pytest.mark.parametrize("platform", ["gpu", "tpu"])
def test_lowers_masks_and_segments(platform):
    q = jax.ShapeDtypeStruct((2, 100, 4, 64), jnp.bfloat16)
    k = jax.ShapeDtypeStruct((2, 300, 2, 64), jnp.bfloat16)
    mask = jax.ShapeDtypeStruct((1, 4, 100, 300), jnp.bool_)
    segments = jax.ShapeDtypeStruct((2, 100), jnp.int32), jax.ShapeDtypeStruct((2, 300), jnp.int32)

    def both(q, k, mask, segments):
        def forward(q):
            return attention(q, k, k, mask=mask, segment_ids=segments, implementation=f"pallas_{platform}")

        out, backward = jax.vjp(forward, q)
        return backward(out)

    with overridden(platform=platform):
        jax.jit(both).trace(q, k, mask, segments).lower(lowering_platforms=("cuda" if platform == "gpu" else platform,))
