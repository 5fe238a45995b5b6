"""What every implementation of graph attention must do; the definition it is held to is float64 NumPy."""

import functools
import inspect
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from orchestai_kernels.dispatch import overridden
from orchestai_kernels.graph_attention import GRAPH_ATTENTION, GraphTiles, graph_attention
from orchestai_kernels.graph_attention.config import gpu_candidates, gpu_heuristic
from orchestai_kernels.graph_attention.shapes import SHAPES

IMPLEMENTATIONS = ("reference", "pallas_gpu", "pallas_tpu")
CONFIGS = {"pallas_gpu": GraphTiles(16, 16)}
AGGREGATIONS = ("softmax", "mean", "sum")


def run(implementation, nodes, adjacency, source=None, target=None, **options):
    with overridden(interpret=not implementation.endswith(jax.default_backend())):
        return graph_attention(
            nodes,
            adjacency,
            source_scores=source,
            target_scores=target,
            implementation=implementation,
            config=CONFIGS.get(implementation),
            **options,
        )


def definition(nodes, adjacency, source, target, mask, aggregation, self_loops, slope=0.2):
    """Target by target and head by head, in float64."""
    nodes, adjacency = np.asarray(nodes, np.float64), np.asarray(adjacency, np.float64)
    batch, n, heads, _ = nodes.shape
    out = np.zeros(nodes.shape)
    for b, t, h in np.ndindex(batch, n, heads):
        if not mask[b, t]:
            continue
        weights = adjacency[b, :, t] * mask[b]
        if self_loops and weights[t] == 0:
            weights[t] = 1.0
        if aggregation == "softmax":
            at = np.flatnonzero(weights > 0)
            raw = source[b, at, h] + target[b, t, h]
            alpha = weights[at] * np.exp(np.where(raw >= 0, raw, slope * raw))
            out[b, t, h] = (alpha / alpha.sum()) @ nodes[b, at, h] if len(at) else 0
        else:
            total = weights.sum() if aggregation == "mean" else 1.0
            out[b, t, h] = weights @ nodes[b, :, h] / total if total > 0 else 0
    return out


def graph(n=19, batch=2, heads=2, dim=5, seed=0):
    rng = np.random.default_rng(seed)
    adjacency = rng.random((batch, n, n)) * (rng.random((batch, n, n)) < 0.3)
    adjacency[:, :, 4] = 0  # nothing points to 4
    mask = np.ones((batch, n), bool)
    mask[0, -3:] = False
    arrays = rng.standard_normal((batch, n, heads, dim)), adjacency, *rng.standard_normal((2, batch, n, heads))
    return tuple(jnp.asarray(x, jnp.float32) for x in arrays), mask


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize(
    "aggregation, self_loops", [("softmax", True), ("softmax", False), ("mean", False), ("sum", True)]
)
def test_equals_the_definition_with_its_gradient(implementation, aggregation, self_loops):
    arrays, mask = graph()
    used = arrays if aggregation == "softmax" else arrays[:2]
    weight = jnp.asarray(np.random.default_rng(8).standard_normal(arrays[0].shape), jnp.float32)

    @jax.jit
    def both(*used):
        def forward(*x):
            return run(implementation, *x, mask=jnp.asarray(mask), aggregation=aggregation, self_loops=self_loops)

        out, backward = jax.vjp(forward, *used)
        return out, backward(weight)

    out, gradients = both(*used)
    wide = [np.asarray(x, np.float64) for x in arrays]
    np.testing.assert_allclose(out, definition(*wide, mask, aggregation, self_loops), rtol=2e-5, atol=5e-6)
    # the slope along a random direction of each argument, by central differences in float64; edges stay edges
    for index, gradient in enumerate(gradients):
        direction = np.random.default_rng(20 + index).standard_normal(wide[index].shape)
        if index == 1:
            direction *= wide[1] > 1e-3

        def along(step, index=index, direction=direction):
            moved = [x + step * direction if i == index else x for i, x in enumerate(wide)]
            return np.sum(definition(*moved, mask, aggregation, self_loops) * np.asarray(weight, np.float64))

        slope = (along(1e-6) - along(-1e-6)) / 2e-6
        np.testing.assert_allclose(np.sum(np.asarray(gradient, np.float64) * direction), slope, rtol=2e-4, atol=1e-3)


@functools.cache
def gradient_in_float32():
    """Of the numbers of the test below, which are rounded to bfloat16."""
    (nodes, *rest), mask = graph(n=7)

    def total(x):
        return jnp.sum(run("reference", x, *rest, mask=jnp.asarray(mask)) ** 2) / 2

    return jax.jit(jax.grad(total))(nodes.astype(jnp.bfloat16).astype(jnp.float32))


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_vmap_remat_and_bfloat16(implementation):
    arrays, mask = graph(n=7)
    nodes, adjacency, source, target = arrays
    low = nodes.astype(jnp.bfloat16)

    @jax.jit
    def step(*x):
        def one(nodes, adjacency, source, target, mask):
            return run(implementation, *(y[None] for y in (nodes, adjacency, source, target)), mask=mask[None])[0]

        out = jax.vmap(jax.checkpoint(one))(*x, jnp.asarray(mask))
        return jnp.sum(out.astype(jnp.float32) ** 2) / 2, out

    gradient, out = jax.grad(step, has_aux=True)(low, adjacency, source, target)
    assert out.dtype == gradient.dtype == jnp.bfloat16
    expected = definition(*(np.asarray(x, np.float64) for x in (low, *arrays[1:])), mask, "softmax", False)
    np.testing.assert_allclose(out.astype(jnp.float32), expected, rtol=0.03, atol=0.03)
    wanted = gradient_in_float32()
    np.testing.assert_allclose(gradient.astype(jnp.float32), wanted, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_a_nan_reaches_its_targets_and_no_second_compilation(implementation, aggregation):
    arrays, _ = graph(n=7)
    used = arrays if aggregation == "softmax" else arrays[:2]
    traced = []

    @jax.jit
    def forward(*x):
        traced.append(1)
        return run(implementation, *x, aggregation=aggregation)

    assert np.isfinite(forward(*used)).all()
    spoilt = forward(used[0], used[1].at[1, 2, 3].set(jnp.nan), *used[2:])
    assert np.isnan(spoilt[1, 3]).all()
    assert np.isfinite(np.delete(spoilt[1], 3, axis=0)).all()
    assert np.isnan(forward(used[0].at[0, 0].set(jnp.nan), *used[1:])[0][used[1][0, 0] > 0]).all()
    assert len(traced) == 1


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_what_a_masked_node_holds_reaches_nothing(implementation, aggregation):
    arrays, mask = graph(n=7)
    used = arrays if aggregation == "softmax" else arrays[:2]
    spoilt = [x.at[0, 5].set(jnp.nan) for x in used]
    spoilt[1] = spoilt[1].at[0, :, 5].set(jnp.inf)

    @jax.jit
    def both(*x):
        out, backward = jax.vjp(lambda *x: run(implementation, *x, mask=jnp.asarray(mask), aggregation=aggregation), *x)
        return out, *backward(jnp.ones_like(out))

    for clean, given in zip(both(*used), both(*spoilt), strict=True):
        np.testing.assert_array_equal(given, clean)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_one_node_and_none(implementation):
    @functools.partial(jax.jit, static_argnames="self_loops")
    def one(nodes, edges, score, *, self_loops):
        return run(implementation, nodes, edges, score, score, self_loops=self_loops)

    for self_loops, wanted in ((True, 3.0), (False, 0.0)):
        number = one(jnp.full((1, 1, 1, 1), 3.0), jnp.zeros((1, 1, 1)), jnp.zeros((1, 1, 1)), self_loops=self_loops)
        assert number == wanted
    empty = jnp.ones((2, 0, 1, 4)), jnp.ones((2, 0, 0)), jnp.ones((2, 0, 1)), jnp.ones((2, 0, 1))
    if implementation == "reference":
        assert run(implementation, *empty).shape == (2, 0, 1, 4)
    else:
        with pytest.raises(NotImplementedError, match="wants no empty axis"):
            run(implementation, *empty)


@pytest.mark.parametrize("platform", ["gpu", "tpu"])
@pytest.mark.parametrize("name", SHAPES)
def test_lowers_at_the_named_shapes(platform, name):
    shape = SHAPES[name]
    if platform not in shape.platforms:
        with overridden(platform=platform), pytest.raises(NotImplementedError, match="up to 512 nodes, got 2048"):
            GRAPH_ATTENTION.choose(*shape.args, implementation=f"pallas_{platform}", **shape.kwargs)
        return

    def both(nodes, edges, source, target, mask):
        def forward(nodes, edges):
            return GRAPH_ATTENTION(
                nodes, edges, source, target, mask, implementation=f"pallas_{platform}", **shape.kwargs
            )

        out, backward = jax.vjp(forward, nodes, edges)
        return backward(out)

    with overridden(platform=platform):
        target_platform = "cuda" if platform == "gpu" else platform
        text = jax.jit(both).trace(*shape.args).lower(lowering_platforms=(target_platform,)).as_text()
    kernels = len(re.findall(r"custom_call @(__gpu\$xla\.gpu\.triton|triton_kernel_call|tpu_custom_call)", text))
    assert kernels == {"gpu": 4, "tpu": 2}[platform]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"nodes": jnp.ones((2, 3, 4))}, r"nodes must be \[batch, n, heads, dim\], got shape \(2, 3, 4\)"),
        ({"adjacency": jnp.ones((2, 3, 4))}, r"adjacency must be \(2, 3, 3\) for nodes .*, got \(2, 3, 4\)"),
        ({"source_scores": jnp.ones((2, 3, 2))}, r"source_scores must be \(2, 3, 1\) .* got \(2, 3, 2\)"),
        ({"mask": jnp.ones((2, 4), bool)}, r"mask must be \(2, 3\)"),
        ({"mask": jnp.ones((2, 3))}, "mask must be boolean, True where a node is, got float32"),
        ({"nodes": jnp.ones((2, 3, 1, 4), int)}, "nodes must be floating, got int32"),
        ({"aggregation": "max"}, "aggregation is one of softmax, mean, sum, not 'max'"),
        ({"target_scores": None}, "takes source_scores and target_scores, got source_scores"),
        ({"aggregation": "mean"}, "aggregation 'mean' takes no scores, got source_scores and target_scores"),
    ],
)
def test_what_does_not_fit_is_named(change, message):
    scores = jnp.ones((2, 3, 1))
    given = {"nodes": jnp.ones((2, 3, 1, 4)), "adjacency": jnp.ones((2, 3, 3))}
    given |= {"source_scores": scores, "target_scores": scores, **change}
    with pytest.raises(ValueError, match=message):  # without the tests' own shape checks, which would come first
        inspect.unwrap(graph_attention)(**given)


def test_tiles_and_choices():
    with pytest.raises(ValueError, match="block_targets must be a power of two of at least 16, got 8"):
        GraphTiles(block_targets=8)
    with pytest.raises(ValueError, match="at least 1, got 0 and 2"):
        GraphTiles(num_warps=0)
    for shape in SHAPES.values():
        assert gpu_heuristic(*shape.args) in gpu_candidates(*shape.args)
    expected = {"graphs_512": "pallas_gpu", "plans_16": "reference", "mean_512": "reference"}
    for name, implementation in expected.items():
        with overridden(platform="gpu"):
            chosen = GRAPH_ATTENTION.choose(*SHAPES[name].args, **SHAPES[name].kwargs)
        assert chosen.implementation == implementation
