"""What every implementation of `cached_attention` keeps, against float64 NumPy."""

import functools
import inspect
import platform

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from orchestai_kernels.arrays import Int8Array, quantize_int8
from orchestai_kernels.cached_attention import CACHED_ATTENTION, cached_attention
from orchestai_kernels.cpu import library
from orchestai_kernels.cpu.config import CpuConfig

ON_X86 = platform.machine().lower() in ("x86_64", "amd64")
CPU = ["portable", "avx2", "avx512_vnni"] if ON_X86 else ["portable", "neon_dotprod"]
LAYERS, BATCH, HEADS, KV_HEADS, CAPACITY, DIM = 3, 2, 6, 2, 11, 37  # 37: two whole vectors of 16 and a rest
UNCHECKED = inspect.unwrap(cached_attention)
START = np.array([0, 4], np.int32)


@pytest.fixture(params=["reference", "sliced", *CPU])
def how(request):
    if request.param not in CPU:
        return {"implementation": request.param}
    if library.problem() is not None:
        pytest.skip(library.problem())
    if request.param not in library.instruction_sets():
        pytest.skip(f"this processor lacks {request.param}")
    return {"implementation": "cpu", "config": CpuConfig(request.param)}


def numbers(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def call(seed=0, dim=DIM, scale=3.0):
    """Queries, the new key and value, keys and values."""
    new = (numbers(seed, BATCH, HEADS, dim), numbers(seed + 1, BATCH, KV_HEADS, dim) * scale)
    cache = (numbers(seed + i, LAYERS, BATCH, KV_HEADS, CAPACITY, dim) for i in (3, 4))
    return *new, numbers(seed + 2, BATCH, KV_HEADS, dim), *cache


def expected(queries, new_key, new_value, keys, values, layer, length):
    out = np.zeros(queries.shape)
    for row, start in enumerate(START):
        for head in range(HEADS):
            of = head // (HEADS // KV_HEADS)
            k, v = (
                np.concatenate([x[layer, row, of, start:length], new[row, of][None]]).astype(np.float64)
                for x, new in ((keys, new_key), (values, new_value))
            )
            scores = k @ queries[row, head] / np.sqrt(queries.shape[-1])
            weights = np.exp(scores - scores.max())
            out[row, head] = weights @ v / weights.sum()
    return out


@functools.partial(jax.jit, donate_argnums=1, static_argnames=("implementation", "config"))
def step(new, cache, layer, length, **how):
    return cached_attention(*new, *cache, layer=layer, start=jnp.asarray(START), length=length, **how)


def run(arguments, layer, length, how):
    """Jitted, with the cache donated, and the layer and length traced."""
    queries, new_key, new_value, *cache = jax.tree.map(jnp.array, arguments)
    return step((queries, new_key, new_value), cache, jnp.int32(layer), jnp.int32(length), **how)


@pytest.mark.parametrize("dim", [DIM, 96, 1])
@pytest.mark.parametrize("layer, length", [(1, 7), (0, 4), (2, CAPACITY - 1)])
def test_it_attends_and_writes(how, dim, layer, length):
    """Row 1 has no token before the newest where length is 4."""
    arguments = call(dim=dim)
    mixed, keys, values = run(arguments, layer, length, how)
    np.testing.assert_allclose(mixed, expected(*arguments, layer, length), rtol=2e-5, atol=2e-5)
    for stored, before, new in zip((keys, values), arguments[3:], arguments[1:3], strict=True):
        wanted = before.copy()
        wanted[layer, :, :, length] = new
        np.testing.assert_array_equal(stored, wanted)


def test_an_int8_cache(how):
    queries, new_key, new_value, keys, values = call(7)
    new_key[0, 1] = 0  # no step stands for it: scale 0
    new_value[1, 0, :3] = [0.5, 127, -127]  # a tie, at a scale of 1
    new_value[1, 0, 3:] = np.arange(DIM - 3) + 0.5
    packed = [quantize_int8(jnp.asarray(x)) for x in (keys, values)]
    read = [np.asarray(x.values, np.float64) * np.asarray(x.scale)[..., None] for x in packed]
    mixed, *stored = run((queries, new_key, new_value, *packed), 1, 7, how)
    wanted = expected(queries, new_key, new_value, *read, 1, 7)  # the newest counts unrounded
    np.testing.assert_allclose(mixed, wanted, rtol=2e-5, atol=2e-5 * np.abs(wanted).max())
    for after, before, new in zip(stored, packed, (new_key, new_value), strict=True):
        rounded = quantize_int8(jnp.asarray(new))
        np.testing.assert_array_equal(after.values, before.values.at[1, :, :, 7].set(rounded.values))
        np.testing.assert_array_equal(after.scale, before.scale.at[1, :, :, 7].set(rounded.scale))


@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("place", ["query", "key", "value", "cached key"])
def test_what_is_not_finite_reaches_the_result(how, int8, value, place):
    queries, new_key, new_value, keys, values = call(3)
    target = {"query": queries[0, 1], "key": new_key[0, 0], "value": new_value[0, 0], "cached key": keys[1, 0, 0, 2]}
    target[place][5] = value
    cache = [quantize_int8(jnp.asarray(x)) if int8 else x for x in (keys, values)]
    read = [np.asarray(x.values, np.float64) * np.asarray(x.scale)[..., None] if int8 else x for x in cache]
    mixed, *stored = run((queries, new_key, new_value, *cache), 1, 7, how)
    with np.errstate(invalid="ignore"):
        wanted = np.isfinite(expected(queries, new_key, new_value, *read, 1, 7))
    assert not (value != value and wanted[0].all()), "a NaN is to be seen"  # an infinite score can be minus infinity
    np.testing.assert_array_equal(np.isfinite(mixed), wanted)
    if int8 and place in ("key", "value"):
        kept = stored[place == "value"]
        assert not np.isfinite(kept.scale[1, 0, 0, 7])
        assert not np.asarray(kept.values[1, 0, 0, 7]).any()


def test_bfloat16_runs_elsewhere():
    arguments = [jnp.asarray(x, jnp.bfloat16) for x in call(5)]
    choice = CACHED_ATTENTION.choose(*arguments, jnp.int32(0), jnp.asarray(START), jnp.int32(5), scale=1.0)
    assert choice.implementation == "sliced"
    assert "wants float32 queries and a float32 or int8 cache" in choice.rejected["cpu"]
    mixed, keys, _ = run(arguments, 1, 7, {})
    assert mixed.dtype == keys.dtype == jnp.bfloat16
    wanted = expected(*(np.asarray(x, np.float64) for x in arguments), 1, 7)
    np.testing.assert_allclose(np.asarray(mixed, np.float64), wanted, rtol=0.03, atol=0.03)


def test_a_loop_over_layers_changes_the_cache_in_place():
    queries, new_key, new_value, keys, values = map(jnp.asarray, call(2))

    def steps(keys, values):
        def layer(i, state):
            mixed, *cache = cached_attention(
                state[0],
                new_key,
                new_value,
                *state[1:],
                layer=i,
                start=jnp.asarray(START),
                length=7,
                implementation="cpu",
            )
            return mixed, *cache

        return jax.lax.fori_loop(0, LAYERS, layer, (queries, keys, values))

    compiled = jax.jit(steps, donate_argnums=(0, 1)).lower(keys, values).compile()
    assert compiled.memory_analysis().alias_size_in_bytes == keys.nbytes + values.nbytes
    assert compiled.memory_analysis().temp_size_in_bytes < keys.nbytes


@pytest.mark.parametrize("layer, length", [(3, 2), (-1, 2), (0, CAPACITY), (0, 3)])
def test_out_of_range_is_an_error_of_the_kernel(layer, length):
    """The last: row 1 would start behind the newest token."""
    with pytest.raises(jax.errors.JaxRuntimeError, match=r"layer .* slot|starts outside"):
        jax.block_until_ready(run(call(), layer, length, {"implementation": "cpu"}))


def changed(index, shape):
    arguments = [np.zeros(x.shape, np.float32) for x in call()]
    arguments[index] = np.zeros(shape, np.float32)
    return arguments


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (changed(0, (2, 6)), r"queries and the new key must be .* got \(2, 6\)"),
        (changed(1, (2, 2, 36)), r"new key and value must be \[2, kv_heads, 37\].* got \(2, 2, 36\)"),
        (changed(0, (2, 5, 37)), "2 does not divide 5"),
        (changed(3, (3, 2, 1, 11, 37)), r"keys and values must be .* got \(3, 2, 1, 11, 37\)"),
        (changed(4, (3, 2, 2, 12, 37)), r"got \(3, 2, 2, 11, 37\) and \(3, 2, 2, 12, 37\)"),
    ],
)
def test_shapes_that_do_not_fit(arguments, message):
    with pytest.raises(ValueError, match=message):  # without the tests' own shape checks, which would come first
        UNCHECKED(*map(jnp.asarray, arguments), layer=0, start=jnp.asarray(START), length=1)


def test_caches_of_two_kinds_and_starts_of_another_batch():
    queries, new_key, new_value, keys, values = map(jnp.asarray, call())
    packed = Int8Array(jnp.zeros(keys.shape, jnp.int8), jnp.zeros(keys.shape[:-1]))
    with pytest.raises(ValueError, match="both be Int8Array or both be float"):
        UNCHECKED(queries, new_key, new_value, keys, packed, layer=0, start=jnp.asarray(START), length=1)
    with pytest.raises(ValueError, match=r"start must be \(2,\), got \(3,\)"):
        UNCHECKED(queries, new_key, new_value, keys, values, layer=0, start=jnp.zeros(3, jnp.int32), length=1)


@pytest.mark.parametrize("index, name", [*enumerate(("queries", "new_key", "new_value", "keys", "values"))])
def test_types_that_differ(index, name):
    arguments = [jnp.asarray(x) for x in call()]
    arguments[index] = arguments[index].astype(jnp.bfloat16)
    named = "new_key" if index == 0 else name
    with pytest.raises(ValueError, match=f"{named} must have the queries' dtype, got (bfloat16|float32) and"):
        UNCHECKED(*arguments, layer=0, start=jnp.asarray(START), length=5)
    arguments[index] = jnp.zeros(arguments[index].shape, jnp.int8)
    told = "queries must be floating, got int8" if index == 0 else f"{name} must have the queries' dtype, got int8"
    with pytest.raises(ValueError, match=told):
        UNCHECKED(*arguments, layer=0, start=jnp.asarray(START), length=5)


@pytest.mark.parametrize("layer, length, told", [
    (LAYERS, 5, "layer must be from 0 to 2, got 3"), (-1, 5, "layer must be from 0 to 2, got -1"),
    (0, CAPACITY, "length must be from 0 to 10, got 11"),
])  # fmt: skip
@pytest.mark.parametrize("implementation", ["cpu", "sliced"])
def test_numbers_out_of_range_are_told_before_anything_runs(implementation, layer, length, told):
    place = {"layer": layer, "start": jnp.asarray(START), "length": length}
    with pytest.raises(ValueError, match=told):
        cached_attention(*map(jnp.asarray, call()), **place, implementation=implementation)
