"""What every implementation of `ternary_matmul` and `int8_matmul` keeps, against NumPy's integers and float64."""

import dataclasses
import functools
import platform

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from orchestai_kernels.arrays import (
    Int8Array,
    StackedMatrix,
    TernaryArray,
    dequantize_ternary,
    pack_ternary,
    unpack_ternary,
)
from orchestai_kernels.cpu import library
from orchestai_kernels.cpu.config import CpuConfig
from orchestai_kernels.dispatch import overridden
from orchestai_kernels.int8_matmul import int8_matmul
from orchestai_kernels.ternary_matmul import ternary_matmul

ON_X86 = platform.machine().lower() in ("x86_64", "amd64")
CPU = ["portable", "avx2", "avx512_vnni"] if ON_X86 else ["portable", "neon_dotprod"]
TERNARY = ["reference", *CPU, "pallas_gpu", "pallas_tpu"]
BOTH = [("ternary", name) for name in TERNARY] + [("int8", name) for name in ["reference", *CPU]]


class Subject:
    """An op run by one implementation, and how its weights are made."""

    def __init__(self, op, name):
        self.op, self.name = op, name
        self.how = {"implementation": name}
        if name in CPU:
            if library.problem() is not None:
                pytest.skip(library.problem())
            if name not in library.instruction_sets():
                pytest.skip(f"this processor lacks {name}")
            self.how = {"implementation": "cpu", "config": CpuConfig(name)}
        run = functools.partial(ternary_matmul if op == "ternary" else int8_matmul, **self.how)
        self.run = run if name in CPU else jax.jit(run)  # one program is compiled sooner than one an operation

    def __call__(self, x, weight):
        return self.run(x, weight)

    @property
    def largest(self):
        return 1 if self.op == "ternary" else 127

    def integers(self, rng, *shape):
        return rng.integers(-self.largest, self.largest + 1, shape).astype(np.int8)

    def weight(self, integers, scale=None):
        if scale is None:
            scale = np.ones(integers.shape[:-1], np.float32)
        if self.op == "ternary":
            return pack_ternary(integers, scale)
        return Int8Array(jnp.asarray(integers), jnp.asarray(scale, jnp.float32))


@pytest.fixture(params=BOTH, ids="-".join)
def subject(request):
    with overridden(interpret=True):
        yield Subject(*request.param)


def whole_activations(rng, tokens, columns):
    """Integers with 127 among them: s is 1, so q is x, and with a scale of 1 the outputs are the bare sums."""
    x = rng.integers(-127, 128, (tokens, columns)).astype(np.float32)
    x[:, rng.integers(columns)] = 127
    return x


def exact(x, integers):
    return (x.astype(np.int64) @ integers.astype(np.int64).T).astype(np.float32)


# tokens, rows, columns: one, primes, whole blocks, more tokens than a tile, and over 128 KB of weights (threads)
SHAPES = [(1, 1, 1), (5, 37, 131), (2, 32, 64), (13, 67, 70), (1, 97, 257)]


@pytest.mark.parametrize("shape", SHAPES)
def test_sums_are_exact(subject, shape):
    rng = np.random.default_rng(sum(shape))
    x, integers = whole_activations(rng, shape[0], shape[2]), subject.integers(rng, *shape[1:])
    np.testing.assert_array_equal(subject(jnp.asarray(x), subject.weight(integers)), exact(x, integers))


def test_a_matrix_of_a_stack_is_what_it_is_alone(subject):
    """In a loop over the stack, under vmap, and differentiated; scales of a matrix and of a row."""
    rng = np.random.default_rng(8)
    x, integers = whole_activations(rng, 2, 70), subject.integers(rng, 3, 37, 70)
    stack = subject.weight(integers, np.linspace(1, 2, 3 * 37, dtype=np.float32).reshape(3, 37))
    stacks = [stack]
    if subject.op == "ternary":
        stacks.append(subject.weight(integers, np.array([1.0, 2.0, 3.0], np.float32)))
    for stack in stacks:
        wanted = np.stack([subject(jnp.asarray(x), jax.tree.map(lambda leaf, i=i: leaf[i], stack)) for i in range(3)])

        def each(x, stack):
            return jax.lax.map(lambda number: subject(x, StackedMatrix(stack, number)), jnp.arange(3))

        np.testing.assert_array_equal(jax.jit(each)(jnp.asarray(x), stack), wanted)
        mapped = jax.jit(jax.vmap(lambda i, x, stack=stack: subject(x, StackedMatrix(stack, i)), (0, None)))(
            jnp.arange(3), jnp.asarray(x)
        )
        np.testing.assert_array_equal(mapped, wanted)
    gradient = jax.jit(jax.grad(lambda x: subject(x, StackedMatrix(stack, jnp.int32(1))).sum()))(jnp.asarray(x))
    scaled = integers[1] * np.broadcast_to(np.asarray(stack.scale[1]).reshape(-1, 1), (37, 70))
    np.testing.assert_allclose(gradient, np.broadcast_to(scaled.sum(0), (2, 70)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("op", ["ternary", "int8"])
def test_stacks_that_do_not_fit(op):
    subject = Subject(op, "portable")
    stack = subject.weight(np.ones((3, 32, 64), np.int8))
    with pytest.raises(jax.errors.JaxRuntimeError, match="index 3 of a stack of 3"):
        jax.block_until_ready(subject(jnp.ones((1, 64)), StackedMatrix(stack, jnp.int32(3))))
    with pytest.raises(ValueError, match=r"a stack has one leading axis, got \(32, 64\)"):
        subject(jnp.ones((1, 64)), StackedMatrix(subject.weight(np.ones((32, 64), np.int8)), jnp.int32(0)))
    other = Subject("int8" if op == "ternary" else "ternary", "portable")
    with pytest.raises(ValueError, match=r"got a stack of (TernaryArray|Int8Array)"):
        other(jnp.ones((1, 64)), StackedMatrix(stack, jnp.int32(0)))


def test_activations_are_rounded_as_the_definition_says(subject):
    """Next to halves: x · s is rounded to float32 first, and then to the even integer. A fused product would differ."""
    largest = np.linspace(0.3, 140, 40, dtype=np.float32)[:, None]
    s = np.float32(127) / largest
    halves = (np.arange(-126, 126, 4, dtype=np.float32) + np.float32(0.5)) / s
    nearby = np.concatenate([np.nextafter(halves, side) for side in (np.float32(-1e9), np.float32(1e9))], 1)
    x = np.concatenate([largest, halves, nearby], 1)
    wanted = np.round(x * s)
    differs = np.round(x.astype(np.float64) * s) != wanted
    assert differs.any()
    y = np.asarray(subject(jnp.asarray(x), subject.weight(np.eye(x.shape[1], dtype=np.int8))))
    np.testing.assert_array_equal(np.round(y * s.astype(np.float64)), wanted)


@pytest.mark.parametrize("tokens", [1, 3])
def test_extremes_overflow_nothing(subject, tokens):
    columns = 4099 if subject.name.startswith("pallas") else 16411  # prime; int16 would overflow many times over
    for sign in (1, -1):
        integers = np.full((33, columns), sign * subject.largest, np.int8)
        x = np.full((tokens, columns), 127.0, np.float32)
        np.testing.assert_array_equal(subject(jnp.asarray(x), subject.weight(integers)), exact(x, integers))


@pytest.mark.parametrize("op, name", [pair for pair in BOTH if pair[1] in CPU])
def test_weights_for_several_threads_and_rows_longer_than_a_span(op, name):
    subject = Subject(op, name)
    rng = np.random.default_rng(1)
    # the second is longer than what one span may sum (65,536 columns of int8, 131,072 ternary ones)
    longest = 133_117 if op == "int8" else 140_009
    for tokens, rows, columns in ((7, 550, 2051), (2, 3, longest)):
        x, integers = whole_activations(rng, tokens, columns), subject.integers(rng, rows, columns)
        np.testing.assert_array_equal(subject(jnp.asarray(x), subject.weight(integers)), exact(x, integers))
    # all four groups of a packed byte, at the ends of the range
    for sign in (1, -1):
        x, integers = np.full((1, longest), 127.0, np.float32), np.full((32, longest), sign * subject.largest, np.int8)
        np.testing.assert_array_equal(subject(jnp.asarray(x), subject.weight(integers)), exact(x, integers))


def quantized_product(x, integers, scale=1.0):
    """The definition in float64, from the float32 rounding of the activations and exact sums."""
    a = np.maximum(np.abs(x).max(-1, keepdims=True), np.float32(1e-5))
    s = np.float32(127) / a
    sums = np.round(x * s).astype(np.int64) @ integers.astype(np.int64).T
    return sums / s.astype(np.float64) * np.asarray(scale, np.float64)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_scales(subject, dtype):
    rng = np.random.default_rng(2)
    x = jnp.asarray(rng.normal(size=(4, 70)), dtype)
    integers, scale = subject.integers(rng, 35, 70), rng.normal(size=35).astype(np.float32)
    y = subject(x, subject.weight(integers, scale))
    assert y.dtype == x.dtype
    wanted = quantized_product(np.asarray(x, np.float32), integers, scale)
    np.testing.assert_allclose(np.asarray(y, np.float64), wanted, rtol=1e-6 if dtype == "float32" else 2**-8, atol=1e-6)
    if subject.op == "ternary":
        y = subject(x.astype(jnp.float32), pack_ternary(integers, 0.37))
        wanted = quantized_product(np.asarray(x, np.float32), integers, np.float32(0.37))
        np.testing.assert_allclose(np.asarray(y, np.float64), wanted, rtol=1e-6, atol=1e-6)


def test_what_is_not_finite_reaches_its_token_only(subject):
    rng = np.random.default_rng(3)
    x = rng.normal(size=(5, 70)).astype(np.float32)
    x[1, 3], x[2, 69], x[3, 0] = np.nan, np.inf, -np.inf
    weight = subject.weight(np.zeros((33, 70), np.int8))  # zeros would hide it
    y = np.asarray(subject(jnp.asarray(x), weight))
    assert np.isnan(y[1:4]).all()
    np.testing.assert_array_equal(y[[0, 4]], 0)


def test_scale_zero_tokens_of_zeros_and_tiny_tokens(subject):
    rng = np.random.default_rng(4)
    integers = subject.integers(rng, 33, 70)
    x = np.stack([np.zeros(70), np.full(70, 1e-7), np.ones(70)]).astype(np.float32)
    np.testing.assert_array_equal(subject(jnp.asarray(x), subject.weight(integers, np.zeros(33))), 0)
    y = np.asarray(subject(jnp.asarray(x), subject.weight(integers)))
    np.testing.assert_array_equal(y[0], 0)
    np.testing.assert_allclose(y[1:], quantized_product(x[1:], integers), rtol=1e-6)


@pytest.mark.parametrize("shape", [(0, 3, 5), (2, 0, 5), (2, 3, 0), (0, 0, 0)])
def test_empty(subject, shape):
    tokens, rows, columns = shape
    y = subject(jnp.ones((tokens, columns)), subject.weight(np.zeros((rows, columns), np.int8)))
    np.testing.assert_array_equal(y, np.zeros((tokens, rows)))


def test_vmap_over_activations_weights_and_both(subject):
    rng = np.random.default_rng(5)
    x = np.stack([whole_activations(rng, 2, 66) for _ in range(3)])
    integers = subject.integers(rng, 3, 34, 66)
    scale = 2.0 ** rng.integers(-2, 3, (3, 34))  # powers of two: nothing is rounded
    weight = subject.weight(integers, scale)
    np.testing.assert_array_equal(
        jax.jit(jax.vmap(subject))(jnp.asarray(x), weight),
        np.stack([exact(a, w) * s for a, w, s in zip(x, integers, scale, strict=True)]),
    )
    np.testing.assert_array_equal(
        jax.vmap(lambda w: jax.vmap(lambda a: subject(a, w))(jnp.asarray(x)))(weight),
        np.stack([[exact(a, w) * s for a in x] for w, s in zip(integers, scale, strict=True)]),
    )
    if subject.op == "ternary":  # one scale a matrix
        np.testing.assert_array_equal(
            jax.vmap(subject)(jnp.asarray(x), pack_ternary(integers, scale[:, 0])),
            np.stack([exact(a, w) * s[0] for a, w, s in zip(x, integers, scale, strict=True)]),
        )


def test_leading_axes_and_scan_over_layers(subject):
    rng = np.random.default_rng(6)
    integers = subject.integers(rng, 2, 34, 34)
    x = whole_activations(rng, 6, 34).reshape(2, 3, 34)
    layers = subject.weight(integers)

    def layer(y, weight):
        return subject(y, weight), None

    scanned, _ = jax.lax.scan(layer, jnp.asarray(x), layers)
    unrolled = subject(subject(jnp.asarray(x), subject.weight(integers[0])), subject.weight(integers[1]))
    # what is fused differently may be rounded differently after the exact sums
    np.testing.assert_allclose(scanned, unrolled, rtol=1e-5, atol=1e-5 * np.abs(unrolled).max())
    assert scanned.shape == (2, 3, 34)


def test_gradient_is_that_of_the_dequantised_product_also_under_remat(subject):
    rng = np.random.default_rng(7)
    x, to = rng.normal(size=(3, 40)).astype(np.float32), rng.normal(size=(3, 35)).astype(np.float32)
    integers, scale = subject.integers(rng, 35, 40), rng.normal(size=35).astype(np.float32)
    weight = subject.weight(integers, scale)
    dense = integers.astype(np.float64) * scale.astype(np.float64)[:, None]

    def loss(x):
        return jnp.sum(subject(x, weight) * to)

    def plain(x):
        return np.sum(x @ dense.T * to)

    step, wanted = 1e-3, np.zeros(x.shape)
    for place in np.ndindex(*x.shape):
        nudge = np.zeros(x.shape)
        nudge[place] = step
        wanted[place] = (plain(x + nudge) - plain(x - nudge)) / (2 * step)
    for gradient in (jax.grad(loss), jax.jit(jax.grad(jax.checkpoint(loss)))):
        np.testing.assert_allclose(gradient(jnp.asarray(x)), wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())


def test_the_weight_gets_no_gradient(subject):
    weight = subject.weight(np.ones((32, 64), np.int8))
    gradient = jax.grad(lambda w: subject(jnp.ones((2, 64)), w).sum(), allow_int=True)(weight)
    integers, scale = jax.tree.leaves(gradient)
    assert integers.dtype == jax.dtypes.float0
    np.testing.assert_array_equal(scale, 0)


def test_a_second_call_compiles_nothing(subject):
    rng = np.random.default_rng(8)
    run = jax.jit(subject.__call__)
    for seed in range(2):
        x = jnp.asarray(whole_activations(np.random.default_rng(seed), 2, 64))
        run(x, subject.weight(subject.integers(rng, 32, 64)))
    assert run._cache_size() == 1


def test_what_does_not_fit_is_refused(subject):
    weight = subject.weight(np.zeros((3, 5), np.int8))
    with pytest.raises(ValueError, match=r"weight's 5 columns, got x \(2, 4\), weight \(3, 5\)"):
        subject(jnp.zeros((2, 4)), weight)
    with pytest.raises(ValueError, match="one matrix"):
        subject(jnp.zeros((2, 5)), subject.weight(np.zeros((2, 3, 5), np.int8)))
    many = 16_909_321 if subject.op == "ternary" else 133_145
    shape: object = jax.eval_shape(lambda: subject.weight(jnp.zeros((1, 64), jnp.int8), jnp.ones(1)))
    if subject.op == "ternary":
        assert isinstance(shape, TernaryArray)
        large = dataclasses.replace(shape, matrix_shape=(1, many))
    else:
        large = Int8Array(jax.ShapeDtypeStruct((1, many), jnp.int8), shape.scale)
    with pytest.raises(ValueError, match=f"at most {many - 1} columns, got {many}"):
        jax.eval_shape(subject, jax.ShapeDtypeStruct((1, many), jnp.float32), large)


def test_packed_weights_stand_for_their_values():
    rng = np.random.default_rng(9)
    integers = rng.integers(-1, 2, (40, 70)).astype(np.int8)
    weight = pack_ternary(integers, 0.5)
    np.testing.assert_array_equal(unpack_ternary(weight), integers)
    x = rng.normal(size=(2, 70)).astype(np.float32)
    # a half step of rounding a column, in the sum over 70 columns of weights of 0.5
    np.testing.assert_allclose(
        ternary_matmul(jnp.asarray(x), weight),
        x @ np.asarray(dequantize_ternary(weight)).T,
        atol=70 * 0.5 / 2 * 4 / 127,
    )
