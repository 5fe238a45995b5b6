"""What every implementation of the feed-forward layer must do; the definition it is held to is float64 NumPy."""

import functools
import inspect
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from orchestai_kernels.arrays import dequantize_ternary, pack_ternary, ternarize
from orchestai_kernels.dispatch import overridden
from orchestai_kernels.feed_forward import FEED_FORWARD, GpuTiles, TpuTiles, feed_forward
from orchestai_kernels.feed_forward.activations import activate, derivative
from orchestai_kernels.feed_forward.config import gpu_candidates, gpu_heuristic, tpu_candidates, tpu_heuristic
from orchestai_kernels.feed_forward.shapes import SHAPES

IMPLEMENTATIONS = ("reference", "xla", "pallas_gpu", "pallas_tpu")
CONFIGS = {"pallas_gpu": GpuTiles(16, 16, 16), "pallas_tpu": TpuTiles(128, 128, 128)}
ERF_FREE = {
    "silu": lambda x: x / (1 + np.exp(-x)),
    "gelu": lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "relu2": lambda x: np.where(x > 0, x, 0) ** 2,
}


def run(implementation, *args, **options):
    with overridden(interpret=not implementation.endswith(jax.default_backend())):
        return feed_forward(*args, implementation=implementation, config=CONFIGS.get(implementation), **options)


def definition(x, gate, up, down, norm, activation):
    hidden = ERF_FREE[activation](x @ gate.T) * (x @ up.T)
    if norm is not None:
        hidden = hidden / np.sqrt(np.mean(hidden**2, axis=-1, keepdims=True) + 1e-5) * norm
    return hidden @ down.T


def arrays(tokens=(2, 3), hidden=19, features=37, out=11, seed=0):
    rng = np.random.default_rng(seed)
    shapes = (*tokens, hidden), (features, hidden), (features, hidden), (out, features), (features,)
    return [jnp.asarray(rng.standard_normal(shape), jnp.float32) for shape in shapes]


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("activation, normed", [("silu", False), ("gelu", False), ("relu2", True)])
def test_equals_the_definition_with_its_gradient(implementation, activation, normed):
    given = arrays()
    weight = jnp.asarray(np.random.default_rng(9).standard_normal((2, 3, 11)), jnp.float32)

    @jax.jit
    def both(*given):
        def forward(x, gate, up, down, norm):
            return run(implementation, x, gate, up, down, norm=norm if normed else None, activation=activation)

        out, backward = jax.vjp(forward, *given)
        return out, backward(weight)

    out, gradients = both(*given)
    wide = [np.asarray(x, np.float64) for x in given]

    def expected(*moved):
        return definition(*moved[:4], moved[4] if normed else None, activation)

    np.testing.assert_allclose(out, expected(*wide), rtol=3e-5, atol=3e-4)
    # the slope along a random direction of each argument, by central differences in float64
    for index, gradient in enumerate(gradients):
        direction = np.random.default_rng(20 + index).standard_normal(wide[index].shape)
        sums = [
            np.sum(expected(*(x + step * direction * (i == index) if x.shape == direction.shape else x
                              for i, x in enumerate(wide))) * np.asarray(weight, np.float64))
            for step in (1e-6, -1e-6)
        ]  # fmt: skip
        slope = (sums[0] - sums[1]) / 2e-6
        np.testing.assert_allclose(np.sum(np.asarray(gradient, np.float64) * direction), slope, rtol=5e-4, atol=2e-2)


def halves():
    x, gate, up, down, norm = (y.astype(jnp.bfloat16) for y in arrays((2, 130), 150, 140, 20))
    return x, gate / 12, up / 12, down / 12, norm


@functools.cache
def gradient_in_float32():
    x, gate, up, down, norm = (y.astype(jnp.float32) for y in halves())
    total = jax.jit(jax.grad(lambda x: jnp.sum(run("reference", x, gate, up, down, norm=norm) ** 2) / 2))
    return np.asarray(total(x))


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_several_tiles_merged_weights_bfloat16_vmap_and_remat(implementation):
    x, gate, up, down, norm = halves()

    @jax.jit
    def step(x, gate_up):
        def one(x):
            return run(implementation, x, gate_up, None, down, norm=norm, activation="silu")

        out = jax.vmap(jax.checkpoint(one))(x)
        return jnp.sum(out.astype(jnp.float32) ** 2) / 2, out

    gradient, out = jax.grad(step, has_aux=True)(x, jnp.concatenate([gate, up]))
    assert out.dtype == gradient.dtype == jnp.bfloat16
    wide = [np.asarray(y, np.float64) for y in (x, gate, up, down, norm)]
    np.testing.assert_allclose(out.astype(jnp.float32), definition(*wide, "silu"), rtol=0.05, atol=0.05)
    wanted = gradient_in_float32()
    error = np.asarray(gradient, np.float32) - wanted
    assert np.linalg.norm(error) < 0.02 * np.linalg.norm(wanted)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_a_nan_reaches_its_token_and_no_second_compilation(implementation):
    x, gate, up, down, norm = arrays((4,))
    traced = []

    @jax.jit
    def forward(x):
        traced.append(1)
        return run(implementation, x, gate, up, down, norm=norm, activation="relu2")

    assert np.isfinite(forward(x)).all()
    for bad in (jnp.nan, jnp.inf):
        spoilt = forward(x.at[1, 2].set(bad))
        assert np.isnan(spoilt[1]).all()
        assert np.isfinite(np.delete(spoilt, 1, axis=0)).all()
    assert len(traced) == 1


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_one_token_and_none(implementation):
    x, gate, up, down, _ = arrays(())
    one = jax.jit(lambda *given: run(implementation, *given))(x, gate, up, down)
    assert one.shape == (11,)
    expected = definition(*(np.asarray(y, np.float64) for y in (x, gate, up, down)), None, "silu")
    np.testing.assert_allclose(one, expected, rtol=2e-5, atol=1e-4)
    if implementation in ("reference", "xla"):
        assert run(implementation, jnp.ones((2, 0, 19)), gate, up, down).shape == (2, 0, 11)
    else:
        with pytest.raises(NotImplementedError, match="wants no empty axis"):
            run(implementation, jnp.ones((2, 0, 19)), gate, up, down)


@pytest.mark.parametrize("merged", [False, True])
def test_ternary_weights_equal_the_quantised_product(merged):
    x, gate, up, down, norm = arrays((3,), 70, 45, 33)
    packed = [pack_ternary(*ternarize(weight)) for weight in (gate, up, down)]
    scales = [np.asarray(dequantize_ternary(array), np.float64) for array in packed]

    def quantised(y):
        step = np.maximum(np.abs(y).max(-1, keepdims=True), 1e-5) / 127
        return np.round(y / step) * step

    wide = quantised(np.asarray(x, np.float64))
    hidden = np.maximum(wide @ scales[0].T, 0) ** 2 * (wide @ scales[1].T)
    hidden = hidden / np.sqrt(np.mean(hidden**2, -1, keepdims=True) + 1e-5) * np.asarray(norm, np.float64)
    expected = quantised(hidden) @ scales[2].T
    gates = packed[:2]
    if merged:
        values, scale = ternarize(gate)[0], np.repeat([ternarize(w)[1] for w in (gate, up)], 45)
        gates = [pack_ternary(jnp.concatenate([values, ternarize(up)[0]]), jnp.asarray(scale)), None]
    for implementation in ("auto", "ternary", "reference"):
        layer = functools.partial(feed_forward, norm=norm, activation="relu2", implementation=implementation)
        out = jax.jit(layer)(x, *gates, packed[2])
        # the same but where a hidden number lies on a rounding step
        assert np.mean(np.abs(out - expected) > 1e-3 * np.abs(expected).max()) < 0.05
    assert FEED_FORWARD.choose(x, *gates, packed[2], norm, activation="relu2", epsilon=1e-5).implementation == "ternary"
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(feed_forward(x, *gates, packed[2], norm=norm, activation="relu2"))))(
        x
    )
    assert np.isfinite(gradient).all()
    assert gradient.any()
    for implementation in ("xla", "pallas_gpu"):
        with pytest.raises(NotImplementedError, match="wants float weights, got ternary ones"):
            run(implementation, x, *gates, packed[2])


@pytest.mark.parametrize("activation", ERF_FREE)
def test_derivatives_are_those_of_the_activations(activation):
    x = np.linspace(-6, 6, 101)
    slope = (ERF_FREE[activation](x + 1e-6) - ERF_FREE[activation](x - 1e-6)) / 2e-6
    np.testing.assert_allclose(activate(jnp.asarray(x, jnp.float32), activation), ERF_FREE[activation](x), atol=1e-5)
    np.testing.assert_allclose(derivative(jnp.asarray(x, jnp.float32), activation), slope, atol=1e-5)


@pytest.mark.parity
def test_equals_torch():
    torch = pytest.importorskip("torch")
    x, gate, up, down, _ = arrays()
    theirs = [torch.tensor(np.asarray(y)) for y in (x, gate, up, down)]
    for activation, function in (
        ("silu", torch.nn.functional.silu),
        ("gelu", lambda y: torch.nn.functional.gelu(y, approximate="tanh")),
        ("relu2", lambda y: torch.relu(y) ** 2),
    ):
        expected = (function(theirs[0] @ theirs[1].T) * (theirs[0] @ theirs[2].T)) @ theirs[3].T
        out = feed_forward(x, gate, up, down, activation=activation)
        np.testing.assert_allclose(out, expected.numpy(), rtol=1e-4, atol=2e-4)


@pytest.mark.parametrize("platform", ["gpu", "tpu"])
@pytest.mark.parametrize("name", [name for name, shape in SHAPES.items() if shape.platforms == ("gpu", "tpu")])
def test_lowers_at_the_named_shapes(platform, name):
    shape = SHAPES[name]

    def forward(*args):
        return FEED_FORWARD(*args, implementation=f"pallas_{platform}", **shape.kwargs)

    def both(*args):
        out, backward = jax.vjp(lambda x: forward(x, *args[1:]), args[0])
        return backward(out)

    with overridden(platform=platform):
        traced = jax.jit(both if shape.gradient else forward).trace(*shape.args)
        text = traced.lower(lowering_platforms=("cuda" if platform == "gpu" else platform,)).as_text()
    kernels = len(re.findall(r"custom_call @(__gpu\$xla\.gpu\.triton|triton_kernel_call|tpu_custom_call)", text))
    assert kernels == (2 if shape.gradient else 1)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"gate": jnp.ones((5, 3))}, r"gate must have x's 4 columns, got x \(2, 4\) and gate \(5, 3\)"),
        ({"gate": jnp.ones(4)}, r"gate must be \[rows, columns\], got shape \(4,\)"),
        ({"up": jnp.ones((4, 4))}, r"up must have gate's rows, got gate \(5, 4\) and up \(4, 4\)"),
        ({"up": None}, "an even number of rows, where up is None; got 5"),
        ({"down": jnp.ones((4, 4))}, r"down must have 5 columns, a feature each, got \(4, 4\)"),
        ({"down": pack_ternary(np.ones((4, 5), np.int8), 1.0)}, "all float or all ternary"),
        ({"norm": jnp.ones(4)}, r"norm must be \(5,\), a feature each, got \(4,\)"),
        ({"x": jnp.ones((2, 4), int)}, "x must be floating, got int32"),
        ({"x": jnp.float32(1)}, r"x must be \[\*batch, hidden\], got shape \(\)"),
        ({"down": jnp.ones((4, 5), int)}, "down must be floating, got int32"),
        ({"activation": "elu"}, "activation is one of silu, gelu, relu2, not 'elu'"),
    ],
)
def test_what_does_not_fit_is_named(change, message):
    given = {"x": jnp.ones((2, 4)), "gate": jnp.ones((5, 4)), "up": jnp.ones((5, 4)), "down": jnp.ones((4, 5))}
    with pytest.raises(ValueError, match=message):  # without the tests' own shape checks, which would come first
        inspect.unwrap(feed_forward)(**{**given, **change})


def test_tiles_and_choices():
    with pytest.raises(ValueError, match="block_hidden must be a power of two of at least 16, got 48"):
        GpuTiles(block_hidden=48)
    with pytest.raises(ValueError, match="num_stages must be at least 1, got 0"):
        GpuTiles(num_stages=0)
    with pytest.raises(ValueError, match="block_features must be a power of two of at least 128, got 64"):
        TpuTiles(block_features=64)
    for shape in SHAPES.values():
        assert gpu_heuristic(*shape.args) in gpu_candidates(*shape.args)
        assert tpu_heuristic(*shape.args) in tpu_candidates(*shape.args)
    with overridden(platform="gpu"):
        for name, implementation in (("2b_decode", "pallas_gpu"), ("2b_train", "xla")):
            chosen = FEED_FORWARD.choose(*SHAPES[name].args, **SHAPES[name].kwargs)
            assert chosen.implementation == implementation
    keys = {FEED_FORWARD.key(*shape.args, **shape.kwargs) for shape in SHAPES.values()}
    assert len(keys) == len(SHAPES)
